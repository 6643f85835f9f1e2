//! How the program is told to end: the first Ctrl-C or SIGTERM asks, the second does not.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Result};

/// What a shell expects of a program that a signal ended.
const INTERRUPTED: i32 = 130;

/// True from the first signal on. At the second the process ends at once; what had not settled is sent again at the next
/// start. Where `with_stdin` is set, the end of standard input asks too: whoever started this has ended.
pub fn stop(with_stdin: bool) -> Result<watch::Receiver<bool>> {
    let listen =
        |kind: SignalKind| signal(kind).map_err(|error| Error::failed("signals cannot be heard").with_cause(error));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let (sender, receiver) = watch::channel(false);
    if with_stdin {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let _end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            sender.send_replace(true);
        });
    }
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        sender.send_replace(true);
        either(&mut interrupt, &mut terminate).await;
        std::process::exit(INTERRUPTED);
    });
    Ok(receiver)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
