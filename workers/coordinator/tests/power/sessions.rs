//! How the coordinator says who it is.

use std::sync::Mutex;

use farrier::wire::PowerState;
use farrier_coordinator::power::Power;
use farrier_testbed::http::{Asked, Said};
use farrier_testbed::wait::wait_for;
use serde_json::json;

use crate::lab::{PASSWORD, SOON, SYSTEM, Service, code, machine, redfish, short};

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// `root:hunter2` in base64.
const BASIC: &str = "Basic cm9vdDpodW50ZXIy";

/// What a service with sessions does: each is good for `uses` requests, and no password is taken elsewhere.
#[derive(Debug, Default)]
struct Sessions {
    made: usize,
    used: usize,
}

impl Sessions {
    fn twist(&mut self, asked: &Asked, uses: usize) -> Option<Said> {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/redfish/v1/") => {
                Some(Said::json(200, &json!({"Links": {"Sessions": {"@odata.id": SESSIONS}}})))
            }
            ("POST", SESSIONS) if asked.body == json!({"UserName": "root", "Password": PASSWORD}) => {
                self.made += 1;
                self.used = 0;
                let path = format!("{SESSIONS}/{}", self.made);
                let token = format!("token-{}", self.made);
                Some(Said::json(201, &json!({})).with("X-Auth-Token", &token).with("Location", &path))
            }
            ("POST", SESSIONS) => Some(Said::status(401)),
            ("DELETE", _) => Some(Said::status(204)),
            _ => {
                self.used += 1;
                let good = asked.header("x-auth-token") == Some(format!("token-{}", self.made).as_str());
                (!good || self.used > uses).then(|| Said::status(401))
            }
        }
    }
}

async fn with_sessions(uses: usize) -> Service {
    let sessions = Mutex::<Sessions>::default();
    Service::start(move |asked| sessions.lock().unwrap().twist(asked, uses)).await
}

fn asked(service: &Service, method: &str) -> Vec<String> {
    let asked = service.server.asked();
    asked.iter().filter(|asked| asked.method == method).map(|asked| asked.path.clone()).collect()
}

#[tokio::test]
async fn a_session_is_made_once_and_ended_with_its_machine() {
    let power = Power::new(short());
    for auth_type in ["auto", "session"] {
        let service = with_sessions(100).await;
        let mut info = redfish(&service.server.url());
        info["redfish_auth_type"] = auth_type.into();
        let machine = machine(&power, info);
        machine.power_on().await.unwrap();
        machine.state().await.unwrap();
        assert_eq!(asked(&service, "POST").iter().filter(|path| *path == SESSIONS).count(), 1);
        let tokens =
            service.server.asked().iter().filter(|asked| asked.header("authorization").is_some()).count();
        assert_eq!(tokens, 0, "the password was sent beside the session");
        drop(machine);
        wait_for("the session is ended", SOON, async || {
            Ok((asked(&service, "DELETE") == [format!("{SESSIONS}/1")]).then_some(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_session_that_has_run_out_is_made_anew_once() {
    let service = with_sessions(2).await;
    let machine = service.machine(&Power::new(short()));
    for _ in 0..4 {
        assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    }
    let none_good = with_sessions(0).await;
    let (code, message) = code(none_good.machine(&Power::new(short())).state().await);
    assert_eq!(code, "bmc-unauthorized", "{message}");
    assert_eq!(asked(&none_good, "POST").len(), 2, "logging in again and again locks a user out");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let service = with_sessions(100).await;
    let mut info = redfish(&service.server.url());
    info["redfish_password"] = json!("wrong");
    let (code, _) = code(machine(&Power::new(short()), info).state().await);
    assert_eq!(code, "bmc-unauthorized");
    assert_eq!(asked(&service, "POST").len(), 1);
    assert!(!asked(&service, "GET").contains(&SYSTEM.to_owned()), "it was tried in another way");
}

#[tokio::test]
async fn without_sessions_the_password_goes_with_each_request_unless_that_is_not_wanted() {
    let power = Power::new(short());
    let none = Service::start(|_| None).await;
    let named_in_vain = Service::start(|asked| {
        let root = json!({"SessionService": {"@odata.id": "/redfish/v1/SessionService"}});
        (asked.path == "/redfish/v1/").then(|| Said::json(200, &root))
    })
    .await;
    for service in [&none, &named_in_vain] {
        service.machine(&power).state().await.unwrap();
        let asked = service.server.asked();
        let asked = asked.iter().find(|asked| asked.path == SYSTEM).unwrap();
        assert_eq!(asked.header("authorization"), Some(BASIC));
    }
    let mut info = redfish(&none.server.url());
    info["redfish_auth_type"] = json!("session");
    assert_eq!(code(machine(&power, info.clone()).state().await).0, "bmc-refused");

    let sessions = with_sessions(100).await;
    info["redfish_address"] = sessions.server.url().into();
    info["redfish_auth_type"] = json!("basic");
    assert_eq!(code(machine(&power, info).state().await).0, "bmc-unauthorized");
    assert_eq!(asked(&sessions, "POST"), [""; 0]);
}
