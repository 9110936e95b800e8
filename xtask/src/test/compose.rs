//! What a parser of docker-compose.yml does not check: that what the file names is in the repository.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn compose() -> Value {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn services(compose: &Value) -> impl Iterator<Item = (&String, &Value)> {
    compose["services"].as_object().unwrap().iter()
}

#[test]
fn the_fleet_is_there() {
    let compose = compose();
    let names: Vec<_> = services(&compose).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["agent", "coordinator", "prometheus", "rabbitmq"]);
    // Anything fixed to one container would keep `--scale agent=N` from working.
    let agent = &compose["services"]["agent"];
    for key in ["container_name", "hostname", "ports", "volumes"] {
        assert!(agent.get(key).is_none(), "{key}");
    }
}

#[test]
fn every_path_of_the_host_is_in_the_repository() {
    let compose = compose();
    let mut seen = 0;
    for (name, service) in services(&compose) {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            if source.starts_with(['.', '/', '~']) {
                assert!(root().join(source).exists(), "{name}: {source}");
                seen += 1;
            } else {
                assert!(compose["volumes"].as_object().unwrap().contains_key(source), "{name}: {source}");
            }
        }
        if let Some(build) = service.get("build") {
            let dockerfile =
                std::fs::read_to_string(root().join(build["dockerfile"].as_str().unwrap())).unwrap();
            let stage = format!(" AS {}", build["target"].as_str().unwrap());
            assert!(
                dockerfile.lines().any(|line| line.starts_with("FROM ") && line.ends_with(&stage)),
                "{name}"
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 4, "the test looks at the wrong keys");
}

#[test]
fn every_file_that_the_image_copies_is_in_the_repository() {
    let dockerfile = std::fs::read_to_string(root().join("ops/Dockerfile")).unwrap();
    let copied: Vec<_> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|rest| !rest.starts_with("--from="))
        .flat_map(|rest| rest.split(' ').rev().skip(1))
        .collect();
    assert!(copied.contains(&"ops/lab-agent"), "{copied:?}");
    for path in copied {
        assert!(root().join(path).exists(), "{path}");
    }
}

#[test]
fn nothing_is_published_beyond_loopback_and_no_secret_is_in_the_file() {
    let compose = compose();
    for (name, service) in services(&compose) {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port}");
        }
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            if ["PASS", "TOKEN", "BROKER"].iter().any(|secret| key.contains(secret)) {
                assert!(value.as_str().unwrap().contains("${"), "{name}: {key}");
            }
        }
    }
}

/// The values that the environment of a service sets for a worker are of settings that it has.
#[test]
fn every_setting_is_one_that_there_is() {
    let compose = compose();
    for (service, source) in
        [("agent", "workers/agent/src/config.rs"), ("coordinator", "workers/coordinator/src/config.rs")]
    {
        let source = std::fs::read_to_string(root().join(source)).unwrap();
        for key in compose["services"][service]["environment"].as_object().unwrap().keys() {
            // The token is read from the environment by name alone.
            if key.starts_with("FARRIER_") {
                assert!(source.contains(&format!("\"{key}\"")), "{service}: {key}");
            }
        }
    }
}
