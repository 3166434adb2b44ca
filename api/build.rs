//! Unpacks what the documents' page is made of, Swagger UI, from the crate that vendors it.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::Path;

use rawzip::{CompressionMethod, ZipArchive, ZipSliceArchive};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

/// The files of the release that the binary holds.
const FILES: [&str; 4] = [
    "dist/swagger-ui-bundle.js",
    "dist/swagger-ui.css",
    "LICENSE",
    "NOTICE",
];

#[expect(
    clippy::disallowed_methods,
    reason = "Cargo tells a build script in the environment where to write"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let directory = std::env::var("OUT_DIR")?;
    let archive = ZipArchive::from_slice(SWAGGER_UI_VENDORED)?;
    for path in FILES {
        let name = path.rsplit('/').next().unwrap_or(path);
        fs::write(Path::new(&directory).join(name), unpacked(&archive, path)?)?;
    }
    Ok(())
}

/// A file of the release, whose files all lie in one directory; its checksum is verified.
fn unpacked(archive: &ZipSliceArchive<&[u8]>, path: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry()? {
        let name = entry.file_path().try_normalize()?;
        if name.as_ref().split_once('/').map(|(_, inner)| inner) == Some(path) {
            let packed = archive.get_entry(entry.wayfinder())?;
            let inflated = if entry.compression_method() == CompressionMethod::STORE {
                packed.data().to_vec()
            } else {
                miniz_oxide::inflate::decompress_to_vec(packed.data())
                    .map_err(|error| format!("{path}: {error}"))?
            };
            let mut verified = Vec::new();
            packed
                .verifying_reader(inflated.as_slice())
                .read_to_end(&mut verified)?;
            return Ok(verified);
        }
    }
    Err(format!("Swagger UI has no {path}").into())
}
