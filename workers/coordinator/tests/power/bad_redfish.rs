//! Redfish services that refuse, fail, lie, hang or talk nonsense.

use farrier::wire::PowerState;
use farrier_coordinator::power::Power;
use farrier_testbed::http::{Asked, Said};
use farrier_testbed::ports::free_address;
use serde_json::json;

use crate::lab::{PASSWORD, RESET, SYSTEM, Service, code, error, machine, redfish, short, system};

fn is_reset(asked: &Asked) -> bool {
    asked.path == RESET
}

#[tokio::test]
async fn whatever_a_service_answers_a_question_ends_with_its_code() {
    let said_password = format!("user root with {PASSWORD} is unknown");
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"PowerState\": ".to_vec();
    let cases: Vec<(&str, Said, &str, &str)> = vec![
        ("401", error(401, &said_password), "bmc-unauthorized", "user root with ***"),
        ("403", Said::status(403), "bmc-unauthorized", "403"),
        ("404", Said::status(404), "bmc-refused", "redfish_system_id"),
        ("409", error(409, "not now"), "bmc-refused", "not now"),
        ("500", error(500, "internal\r\nerror"), "bmc-failed", "internal"),
        ("503", error(503, "starting"), "bmc-failed", "starting"),
        ("no HTTP", Said::Bytes(b"\0\x01SSH-2.0-dropbear\r\n".to_vec()), "bmc-bad-answer", "no sense"),
        ("half", Said::Bytes(half), "bmc-bad-answer", "no sense"),
        ("nothing", Said::Bytes(Vec::new()), "bmc-bad-answer", "no sense"),
        (
            "no JSON",
            Said::Answer(200, Vec::new(), "<html>hunter2</html>".into()),
            "bmc-bad-answer",
            "no JSON",
        ),
        ("another kind", Said::json(200, &json!({"PowerState": 7})), "bmc-bad-answer", "no resource"),
        ("no state", Said::json(200, &json!({"Id": "1"})), "bmc-bad-answer", "PowerState"),
        ("huge", Said::Endless(vec![b' '; 65536]), "bmc-bad-answer", "larger"),
        ("silence", Said::Silence, "bmc-unreachable", "in time"),
    ];
    let power = Power::new(short());
    for (name, said, expected, word) in cases {
        let service = Service::start(move |asked| (asked.path == SYSTEM).then(|| said.clone())).await;
        let machine = service.machine(&power);
        let (code, message) = code(machine.state().await);
        assert_eq!(code, expected, "{name}: {message}");
        assert!(message.contains(word) && message.contains(machine.address()), "{name}: {message}");
        assert_eq!(service.resets(), [""; 0], "{name}: it was switched without a look");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let nobody = format!("http://{}", free_address().unwrap());
    let (code, message) = code(machine(&Power::new(short()), redfish(&nobody)).power_on().await);
    assert_eq!(code, "bmc-unreachable", "{message}");
    assert!(message.contains(&nobody), "{message}");
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_tried_again_as_often_as_the_settings_say() {
    let service = Service::start(|asked| (asked.path == SYSTEM).then(|| Said::status(503))).await;
    assert_eq!(code(service.machine(&Power::new(short())).state().await).0, "bmc-failed");
    let tries = service.server.asked().iter().filter(|asked| asked.path == SYSTEM).count();
    assert_eq!(tries, 3);
}

#[tokio::test]
async fn success_without_acting_is_a_timeout_that_names_what_is_still_said() {
    let service = Service::start(|asked| is_reset(asked).then(|| Said::status(204))).await;
    let (code, message) = code(service.machine(&Power::new(short())).power_on().await);
    assert_eq!(code, "power-timeout", "{message}");
    assert!(message.contains("is not on after") && message.contains("still says off"), "{message}");
    assert_eq!(service.resets(), ["On"]);
}

#[tokio::test]
async fn a_request_that_is_refused_counts_where_the_state_is_reached_all_the_same() {
    let power = Power::new(short());
    for status in [400, 409, 500] {
        let service = Service::start(|_| None).await;
        let url = service.server.url();
        // It takes the request, and then says that it has not.
        let grudging = Service::start({
            let state = std::sync::Mutex::new("Off");
            move |asked| match (asked.method.as_str(), asked.path.as_str()) {
                ("POST", RESET) => {
                    *state.lock().unwrap() = "On";
                    Some(Said::status(status))
                }
                ("GET", SYSTEM) => Some(Said::json(200, &system(&state.lock().unwrap()))),
                _ => None,
            }
        })
        .await;
        grudging.machine(&power).power_on().await.unwrap_or_else(|error| panic!("{url} {status}: {error}"));
        assert_eq!(grudging.resets(), ["On"]);
    }
}

#[tokio::test]
async fn switching_on_is_tried_again_while_the_machine_is_still_on_its_way_to_off() {
    let power = Power::new(short());
    let refused = std::sync::atomic::AtomicUsize::new(0);
    let passes = Service::start(move |asked| {
        let early = refused.fetch_add(usize::from(is_reset(asked)), std::sync::atomic::Ordering::SeqCst) < 2;
        (is_reset(asked) && early).then(|| error(409, "ActionParameterValueConflict"))
    })
    .await;
    passes.machine(&power).power_on().await.unwrap();
    assert_eq!(passes.resets(), ["On"; 3]);

    let never = Service::start(|asked| is_reset(asked).then(|| error(409, "conflict for ever"))).await;
    let (code_of_on, message) = code(never.machine(&power).power_on().await);
    assert_eq!(code_of_on, "bmc-refused", "{message}");
    assert_eq!(never.resets(), ["On"; 3], "as often as the settings say");
    never.set_state("On");
    assert_eq!(code(never.machine(&power).power_off().await).0, "bmc-refused");
    assert_eq!(never.resets().len(), 4, "off is not tried again");
}

#[tokio::test]
async fn what_fails_while_the_state_is_waited_for_may_pass_and_is_told_where_it_does_not() {
    let power = Power::new(short());
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let shaky = Service::start(move |asked| {
        let look = looks.fetch_add(usize::from(asked.path == SYSTEM), std::sync::atomic::Ordering::SeqCst);
        // The first two looks are before the request and for it.
        (asked.path == SYSTEM && (2..5).contains(&look)).then(|| Said::status(500))
    })
    .await;
    shaky.machine(&power).power_on().await.unwrap();

    let looks = std::sync::atomic::AtomicUsize::new(0);
    let broken = Service::start(move |asked| {
        let look = looks.fetch_add(usize::from(asked.path == SYSTEM), std::sync::atomic::Ordering::SeqCst);
        (asked.path == SYSTEM && look >= 2).then(|| Said::status(500))
    })
    .await;
    assert_eq!(code(broken.machine(&power).power_on().await).0, "bmc-failed");
}

#[tokio::test]
async fn nothing_leads_the_credentials_to_another_server() {
    let power = Power::new(short());
    let other = Service::start(|_| None).await;
    let elsewhere = other.server.url();
    let redirect = {
        let elsewhere = format!("{elsewhere}{SYSTEM}");
        Service::start(move |asked| {
            (asked.path == SYSTEM).then(|| Said::status(302).with("Location", &elsewhere))
        })
        .await
    };
    let link = {
        let members = json!({"Members": [{"@odata.id": format!("{elsewhere}{SYSTEM}")}]});
        Service::start(move |asked| (asked.path == "/redfish/v1/Systems").then(|| Said::json(200, &members)))
            .await
    };
    let protocol_relative = {
        let members =
            json!({"Members": [{"@odata.id": format!("{}{SYSTEM}", elsewhere.trim_start_matches("http:"))}]});
        Service::start(move |asked| (asked.path == "/redfish/v1/Systems").then(|| Said::json(200, &members)))
            .await
    };
    for service in [redirect, link, protocol_relative] {
        let (code, message) = code(service.machine(&power).state().await);
        assert_eq!(code, "bmc-bad-answer", "{message}");
    }
    assert!(other.server.asked().is_empty(), "{:?}", other.server.asked());
}

#[tokio::test]
async fn a_redirect_to_itself_is_followed() {
    let service = Service::start(|asked| {
        let moved = asked.path == "/redfish/v1/Systems/one";
        moved.then(|| Said::status(308).with("Location", SYSTEM))
    })
    .await;
    let mut info = redfish(&service.server.url());
    info["redfish_system_id"] = json!("one");
    assert_eq!(machine(&Power::new(short()), info).state().await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn more_than_one_system_needs_a_name() {
    let power = Power::new(short());
    let service = Service::start(|asked| {
        let members = json!({"Members": [{"@odata.id": "/redfish/v1/Systems/0"}, {"@odata.id": SYSTEM}]});
        (asked.path == "/redfish/v1/Systems").then(|| Said::json(200, &members))
    })
    .await;
    let (code, message) = code(service.machine(&power).state().await);
    assert_eq!(code, "bmc-refused");
    assert!(message.contains("2 systems") && message.contains("redfish_system_id"), "{message}");
    for named in ["1", SYSTEM] {
        let mut info = redfish(&service.server.url());
        info["redfish_system_id"] = named.into();
        assert_eq!(machine(&power, info).state().await.unwrap(), PowerState::Off);
    }
}
