//! Certificates of authorities that exist for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// An authority whose certificate is `ca.pem` in a directory of its own.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes an authority in `dir`, or takes the one that is there.
    ///
    /// # Errors
    /// When openssl is not installed or fails: with what it said.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let authority = Self { dir: dir.canonicalize()? };
        if !authority.ca_pem_path().exists() {
            authority.openssl(&[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=farrier test authority",
                "-addext",
                "keyUsage=critical,keyCertSign",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ])?;
        }
        Ok(authority)
    }

    /// The certificate of the authority.
    #[must_use]
    pub fn ca_pem_path(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Makes `<name>.pem` and `<name>.key` for a server on `127.0.0.1`, `::1`, `localhost` and any name directly below it, unless
    /// they are there.
    ///
    /// # Errors
    /// When openssl fails: with what it said.
    pub fn sign_server(&self, name: &str) -> anyhow::Result<()> {
        let names = "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost,DNS:*.localhost";
        self.sign(name, "/CN=localhost", &[names, "extendedKeyUsage=serverAuth"])
    }

    /// Makes `<name>.pem` and `<name>.key` for a client, unless they are there, and returns both as one text.
    ///
    /// # Errors
    /// When openssl fails: with what it said.
    pub fn sign_client(&self, name: &str) -> anyhow::Result<String> {
        self.sign(name, &format!("/CN={name}"), &["extendedKeyUsage=clientAuth"])?;
        let read = |suffix: &str| fs::read_to_string(self.dir.join(format!("{name}.{suffix}")));
        Ok(read("pem")? + &read("key")?)
    }

    /// The certificate `<name>.pem` that was signed, and its key.
    #[must_use]
    pub fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key")))
    }

    fn sign(&self, name: &str, subject: &str, extensions: &[&str]) -> anyhow::Result<()> {
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        if self.dir.join(&pem).exists() {
            return Ok(());
        }
        let mut arguments = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        arguments.extend(["-nodes", "-days", "30", "-subj", subject]);
        for extension in extensions.iter().chain(&["basicConstraints=critical,CA:FALSE"]) {
            arguments.extend(["-addext", extension]);
        }
        arguments.extend(["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", &key, "-out", &pem]);
        self.openssl(&arguments)
    }

    fn openssl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.dir)
            .output()
            .context("cannot start openssl; install the Debian package openssl")?;
        ensure!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
