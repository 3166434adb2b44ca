//! A browser in the small: keeps cookies, follows redirects, posts the forms it is told to.

use std::sync::Mutex;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use url::Url;

use crate::client::http;

/// One person's browser.
#[derive(Debug, Default)]
pub struct Browser {
    cookies: Mutex<Vec<Cookie>>,
}

/// What the browser shows.
#[derive(Debug)]
pub struct Page {
    /// The address in the address bar.
    pub url: Url,
    /// The HTTP status.
    pub status: u16,
    /// The document.
    pub html: String,
}

#[derive(Debug)]
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

impl Browser {
    /// Opens an address and follows redirects until a page, or until `stop` accepts the next address, which is then
    /// returned as the `Err`.
    pub async fn open(&self, url: Url, stop: impl Fn(&Url) -> bool) -> Result<Page, Url> {
        self.go(url, None, stop).await
    }

    /// Posts the page's form with these fields and follows on like [`Browser::open`].
    pub async fn submit(
        &self,
        page: &Page,
        fields: &[(&str, &str)],
        stop: impl Fn(&Url) -> bool,
    ) -> Result<Page, Url> {
        let action = attribute(&page.html, "action").expect("the page has a form");
        let action = page.url.join(&action).expect("a form's address");
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.go(action, Some(form), stop).await
    }

    async fn go(
        &self,
        mut url: Url,
        mut form: Option<String>,
        stop: impl Fn(&Url) -> bool,
    ) -> Result<Page, Url> {
        for _ in 0..20 {
            if stop(&url) {
                return Err(url);
            }
            let response = self.ask(&url, form.take()).await;
            let status = response.status().as_u16();
            match response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
            {
                Some(next) if (300..400).contains(&status) => {
                    url = url.join(next).expect("a location");
                }
                _ => {
                    let html = response.text().await.expect("a page");
                    return Ok(Page { url, status, html });
                }
            }
        }
        panic!("more than 20 redirects, the last to {url}");
    }

    async fn ask(&self, url: &Url, form: Option<String>) -> reqwest::Response {
        let request = match form {
            Some(form) => http()
                .post(url.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form),
            None => http().get(url.clone()),
        };
        let request = request
            .header("accept", "text/html")
            .header(COOKIE, self.cookies_for(url));
        let response = request.send().await.expect("the site answers");
        let set = response.headers().get_all(SET_COOKIE).iter();
        set.filter_map(|value| value.to_str().ok())
            .for_each(|line| self.keep(url, line));
        response
    }

    fn cookies_for(&self, url: &Url) -> String {
        let cookies = self.cookies.lock().unwrap();
        let sent = cookies.iter().filter(|cookie| {
            Some(cookie.host.as_str()) == url.host_str() && url.path().starts_with(&cookie.path)
        });
        sent.map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn keep(&self, url: &Url, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts
            .next()
            .and_then(|pair| pair.split_once('='))
            .expect("a cookie");
        let path = parts
            .find_map(|part| part.strip_prefix("path=").or(part.strip_prefix("Path=")))
            .unwrap_or("/");
        let host = url.host_str().unwrap_or_default();
        let mut cookies = self.cookies.lock().unwrap();
        cookies.retain(|old| {
            (old.host.as_str(), old.path.as_str(), old.name.as_str()) != (host, path, name)
        });
        if !value.is_empty() {
            let (host, path) = (host.to_owned(), path.to_owned());
            cookies.push(Cookie {
                host,
                path,
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }
}

impl Page {
    /// The value of a form field that is already filled in.
    pub fn field(&self, name: &str) -> Option<String> {
        let from = self.html.find(&format!("name=\"{name}\""))?;
        attribute(&self.html[from..], "value")
    }
}

fn attribute(html: &str, name: &str) -> Option<String> {
    let from = html.find(&format!("{name}=\""))? + name.len() + 2;
    let value = &html[from..from + html[from..].find('"')?];
    Some(value.replace("&amp;", "&"))
}
