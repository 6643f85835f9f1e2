//! The script of `check --sql`: all statements that findings carry, in one text, each where it says who may run it.
//!
//! It may be run again, and by anybody of those it names: what is for an administrator only warns when somebody else runs it.
//! What is for the owner is one transaction, identities before the publication: an update of a published table without
//! identity would fail.

use super::findings::{Finding, Findings};
use crate::source::publication::dollars;
use crate::source::quote::literal;
use crate::source::{Runner, ServerInfo};

pub fn script(findings: &Findings, server: &ServerInfo) -> String {
    let (user, database) = (&server.user, &server.database);
    let of = |runner: Runner| statements(findings, move |finding| finding.runner == runner);
    let (alone, administrators, owners) =
        (of(Runner::AdministratorAlone), of(Runner::Administrator), of(Runner::Owner));
    if alone.is_empty() && administrators.is_empty() && owners.is_empty() {
        return format!("-- SQL has nothing to mend for user {user} in database {database}.");
    }
    let mut lines = vec![
        format!("-- What user {user} lacks in database {database}, for `psql -f`: a superuser can run all of it."),
        "-- It may be run again. Afterwards `tidemill check` says what is still missing.".to_owned(),
    ];
    if !alone.is_empty() {
        lines.push(
            "\n-- For a superuser, each by itself outside of a transaction, with a restart of the server behind it:"
                .into(),
        );
        lines.extend(alone.iter().map(|sql| format!("-- {sql}")));
    }
    if !administrators.is_empty() {
        lines.push(
            "\n-- For a superuser (hosted: the provider's administrator); whoever else runs it is told so:".into(),
        );
        lines.extend(administrators.iter().map(|sql| or_warn(sql)));
    }
    if !owners.is_empty() {
        lines.push(format!(
            "\n-- For the owner of the tables, who needs CREATE on database {database} for a publication:"
        ));
        lines.push("BEGIN;".into());
        lines.extend(owners);
        lines.push("COMMIT;".into());
    }
    lines.join("\n")
}

/// In the order in which they were found, each once.
fn statements(findings: &Findings, wanted: impl Fn(&Finding) -> bool) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    for finding in findings.list.iter().filter(|finding| wanted(finding)) {
        for line in finding.sql.iter().flat_map(|sql| sql.lines()) {
            if !statements.iter().any(|known| known == line) {
                statements.push(line.to_owned());
            }
        }
    }
    statements
}

fn or_warn(sql: &str) -> String {
    let warning = literal(&format!("a superuser has to run: {sql}"));
    dollars(&format!(
        "BEGIN {sql} EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING USING MESSAGE = {warning}; END"
    ))
}
