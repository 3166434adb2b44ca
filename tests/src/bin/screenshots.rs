//! `scripts/screenshots`: takes the pictures of the vault's pages that the documents show.

use std::path::PathBuf;

use clap::Parser;
use nexus_tests::{Chromium, Database, Nexus, Sight, TestNexus};
use serde_json::{Value, json};
use url::Url;

/// Takes pictures of the vault's pages with a real browser.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to put them
    directory: PathBuf,
}

/// Pictures are for a glance.
const HEIGHT: u32 = 680;

fn profiles() -> [Value; 3] {
    [
        json!({"name": "Weather", "auth_type": "api_key"}),
        json!({"name": "Storage", "auth_type": "aws_sigv4", "params": {"service": "s3"}}),
        json!({"name": "Example Bank", "auth_type": "basic_auth", "params": {"credential_schema": {
            "type": "object",
            "description": "Make a token for this under Settings, Access.",
            "required": ["user", "token", "region"],
            "properties": {
                "user": {"type": "string", "title": "User", "description": "As on your statements."},
                "token": {"type": "string", "format": "password", "title": "Access token", "pattern": "^eb_", "description": "Begins with eb_."},
                "region": {"title": "Region", "oneOf": [{"const": "eu", "title": "Europe"}, {"const": "us", "title": "United States"}]},
                "port": {"type": "integer", "maximum": 65535, "title": "Port"},
                "sandbox": {"type": "boolean", "title": "Use the sandbox", "description": "No money moves there."},
            },
        }}}),
    ]
}

async fn form(nexus: &TestNexus, provider: &str) -> Url {
    let return_url = "http://localhost:3000/done";
    nexus.request_for(provider, return_url).await.auth_url
}

#[tokio::main]
async fn main() {
    let directory = Arguments::parse().directory;
    let directory = std::path::absolute(directory).expect("a path");
    std::fs::create_dir_all(&directory).expect("a directory");
    let picture = |name: &str| directory.join(format!("{name}.png"));

    let nexus = Nexus::new(Database::Sqlite).start().await;
    for profile in profiles() {
        nexus.register(profile).await;
    }
    let (wide, narrow) = (1280, 360);
    let mut browser = Chromium::start();

    browser.fresh(Sight::new(false, wide));
    browser.open(&form(&nexus, "Weather").await);
    browser.shoot(&picture("form-light"), HEIGHT);

    browser.fresh(Sight::new(true, wide));
    browser.open(&form(&nexus, "Storage").await);
    browser.shoot(&picture("form-dark"), HEIGHT);

    browser.fresh(Sight::new(true, narrow));
    let bank = form(&nexus, "Example Bank").await;
    browser.open(&bank);
    browser.shoot(&picture("form-narrow"), HEIGHT);

    browser.fresh(Sight::new(false, wide));
    browser.open(&bank);
    browser.fill(
        &json!({"User": "ann", "Access token": "wrong", "Region": "eu", "Port (optional)": "99999"}),
    );
    browser.submit();
    browser.shoot(&picture("form-errors"), HEIGHT);

    let mut unknown = nexus.callback();
    unknown.set_query(Some("code=x&state=unknown"));
    for (name, sight) in [
        ("failure-light", Sight::new(false, wide)),
        ("failure-dark", Sight::new(true, narrow)),
    ] {
        browser.fresh_as(sight, "example-7d0e");
        browser.open(&unknown);
        browser.shoot(&picture(name), HEIGHT);
    }
}
