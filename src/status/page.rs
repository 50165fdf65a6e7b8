//! The page for a browser: one document that loads nothing but `/status.json` and `/history.json`.

use super::http::{HttpResponse, StatusCode};

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// In the order in which they use each other; the last one begins.
const SCRIPTS: [&str; 7] = [
    include_str!("page/words.js"),
    include_str!("page/figures.js"),
    include_str!("page/chart.js"),
    include_str!("page/charts.js"),
    include_str!("page/overview.js"),
    include_str!("page/tables.js"),
    include_str!("page/main.js"),
];

/// Returns the page. Its policy lets it run its own script and style, which carry an unpredictable number, and ask this
/// server; if a text of a client were ever taken for markup, it could do nothing.
pub(super) fn response() -> Result<HttpResponse, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let nonce = format!("{:032x}", u128::from_ne_bytes(random));
    let scripts = SCRIPTS.map(|script| format!("<script nonce=\"{nonce}\">\n{script}</script>\n")).concat();
    let body = DOCUMENT.replace("{nonce}", &nonce).replace("{style}", STYLE).replace("{scripts}", &scripts);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let page = HttpResponse::new(StatusCode::Ok, "text/html; charset=utf-8", body);
    Ok(HttpResponse { policy: Some(policy), ..page })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
        let page = response().unwrap();
        for placeholder in ["{nonce}", "{style}", "{scripts}"] {
            assert!(!page.body.contains(placeholder), "{placeholder}");
        }
        // The one address is the name of SVG.
        let elsewhere = page.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
        assert_ne!(response().unwrap().policy, page.policy, "the number repeats");
    }
}
