//! The page for people: one document that needs nothing else but `/status.json`.

use std::hash::{BuildHasher as _, RandomState};

use super::http::{Code, Response};

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// The page. It may run its own script and style, which a number says that nobody can guess, and ask this server;
/// nothing else, should a stranger's text ever be taken for markup.
pub(super) fn response() -> Response {
    let random = || RandomState::new().hash_one(());
    let nonce = format!("{:016x}{:016x}", random(), random());
    let body = DOCUMENT.replace("{nonce}", &nonce).replace("{style}", STYLE).replace("{script}", SCRIPT);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let page = Response::new(Code::Ok, "text/html; charset=utf-8", body);
    Response { policy: Some(policy), ..page }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_needs_nobody_else() {
        let page = response();
        for placeholder in ["{nonce}", "{style}", "{script}"] {
            assert!(!page.body.contains(placeholder), "{placeholder}");
        }
        // The one address is the name of SVG.
        let elsewhere = page.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
        assert_ne!(response().policy, page.policy, "a number can be guessed");
    }
}
