//! Where images come from: real servers and proxies, and servers that break where they are told to. Each test writes the image to a
//! file that stands for a disk, and holds that against what was served.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it cannot test")]

mod download;
mod environment;
mod files;
mod fresh_urls;
mod lab;
mod mirrors;
mod proxies;
mod redirects;
mod resume;
mod tls;
