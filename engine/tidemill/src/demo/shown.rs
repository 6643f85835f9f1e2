//! Where the index is, in words that may be read by everybody: a URL or key that lets one in is not among them.

/// A server as the demo speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) url: String,
    /// How to begin a line to paste; it asks for a password, or has a place for the key.
    pub(super) curl: String,
}

impl Shown {
    pub(super) fn new(sink_url: &str, has_key: bool) -> Shown {
        let mut curl = "curl".to_owned();
        let mut shown = sink_url.to_owned();
        if let Ok(mut url) = reqwest::Url::parse(sink_url)
            && !(url.username().is_empty() && url.password().is_none())
        {
            let user = percent_encoding::percent_decode_str(url.username()).decode_utf8_lossy().into_owned();
            curl.push_str(&format!(" -u '{user}'"));
            // It has a host, so both can be taken away.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            shown = url.as_str().trim_end_matches('/').to_owned();
        }
        if has_key {
            curl.push_str(" -H \"authorization: ApiKey $KEY\"");
        }
        Shown { url: shown, curl }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let shown = |url, has_key| {
            let Shown { url, curl } = Shown::new(url, has_key);
            format!("{curl} {url}/products")
        };
        assert_eq!(shown("http://h:9200", false), "curl http://h:9200/products");
        assert_eq!(shown("https://el%40stic:hunter2@h:9200/es", false), "curl -u 'el@stic' https://h:9200/es/products");
        assert_eq!(shown("http://h", true), "curl -H \"authorization: ApiKey $KEY\" http://h/products");
    }
}
