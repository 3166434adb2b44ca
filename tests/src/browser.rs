//! A browser in the small: keeps cookies, follows redirects, posts the forms it is told to.

use std::sync::Mutex;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::Value;
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

    /// Posts the page's form with what is filled in already and these fields besides; goes on like [`Browser::open`].
    pub async fn fill(
        &self,
        page: &Page,
        fields: &[(&str, &str)],
        stop: impl Fn(&Url) -> bool,
    ) -> Result<Page, Url> {
        let form = page.form();
        let hidden = form.hidden.iter();
        let hidden = hidden.map(|(name, value)| (name.as_str(), value.as_str()));
        let filled = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(hidden.chain(fields.iter().copied()))
            .finish();
        self.go(form.action, Some(filled), stop).await
    }

    /// Sends JSON as a script of the page would; returns the status.
    pub async fn send(&self, method: &str, url: Url, body: &Value) -> u16 {
        let method = method.parse().expect("a method");
        let request = http()
            .request(method, url.clone())
            .header("content-type", "application/json")
            .body(body.to_string());
        self.exchange(&url, request).await.status().as_u16()
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
        self.exchange(url, request.header("accept", "text/html"))
            .await
    }

    async fn exchange(&self, url: &Url, request: reqwest::RequestBuilder) -> reqwest::Response {
        let request = request.header(COOKIE, self.cookies_for(url));
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

    /// Whether there is a form field of this name.
    pub fn has_field(&self, name: &str) -> bool {
        self.html.contains(&format!("name=\"{name}\""))
    }

    /// The first link whose address ends so.
    pub fn link(&self, end: &str) -> Option<Url> {
        let addresses = tags(&self.html, "a ").filter_map(|(_, link)| attribute(link, " href"));
        let mut fitting = addresses.filter(|address| address.ends_with(end));
        fitting
            .next()
            .map(|address| self.url.join(&address).expect("an address"))
    }

    fn form(&self) -> Form {
        let form = tags(&self.html, "form").next();
        let (start, form) = form.unwrap_or_else(|| panic!("no form: {}", self.html));
        let inside = &self.html[start..];
        let inside = &inside[..inside.find("</form").unwrap_or(inside.len())];
        let fields = tags(inside, "input").map(|(_, input)| input);
        let hidden = fields.filter(|input| attribute(input, " type").as_deref() == Some("hidden"));
        Form {
            action: self
                .url
                .join(&attribute(form, " action").unwrap_or_default())
                .expect("a form's address"),
            hidden: hidden
                .filter_map(|input| {
                    let value = attribute(input, " value").unwrap_or_default();
                    Some((attribute(input, " name")?, value))
                })
                .collect(),
        }
    }
}

/// Where a form is sent, and what is filled in already.
struct Form {
    action: Url,
    hidden: Vec<(String, String)>,
}

/// The tags of a name, each with where it begins.
fn tags<'a>(html: &'a str, name: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let open = format!("<{name}");
    let starts: Vec<usize> = html.match_indices(&open).map(|(at, _)| at).collect();
    starts.into_iter().filter_map(move |at| {
        let tag = &html[at..at + html[at..].find('>')?];
        Some((at, tag))
    })
}

fn attribute(html: &str, name: &str) -> Option<String> {
    let from = html.find(&format!("{name}=\""))? + name.len() + 2;
    let value = &html[from..from + html[from..].find('"')?];
    let entities = [
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    Some(
        entities
            .iter()
            .fold(value.to_owned(), |value, (entity, character)| {
                value.replace(entity, character)
            }),
    )
}
