//! Everything that the OpenAPI document allows and much that it does not, asked by schemathesis: no answer is a fault of the
//! service, and none is one that the document does not speak of.

use std::process::{Command, Stdio};

use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::peers;
use testkit::status::Device;

/// Requests for each resource and kind of mistake; many more with TEST_LONG.
const EXAMPLES: &str = "15";
const EXAMPLES_LONG: &str = "2000";

#[test]
fn no_request_is_answered_otherwise_than_documented() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    let mut publisher = broker.publisher();
    for id in ["1", "2"] {
        let pump = Device::new("pump", id);
        publisher.retain(&pump.topic(), pump.connect(1));
    }
    publisher.flush();
    let key = keys.create("admin");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let examples = if std::env::var_os("TEST_LONG").is_some() { EXAMPLES_LONG } else { EXAMPLES };
    let python = peers::python("schemathesis");
    let directory = tempfile::tempdir().unwrap();
    let mut program = Command::new(python.with_file_name("st"));
    program
        .current_dir(directory.path())
        .args(["run", &format!("http://{}/openapi.json", service.address())]);
    program.args(["--header", &format!("Authorization: {}", key.bearer())]);
    program.args(["--max-examples", examples, "--seed", "1", "--workers", "1", "--no-color"]);
    program.args(["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]);
    // What a valid request is, the document says only in part: that devices have names which topics can carry, for one. So a
    // refusal of what looks valid is no fault, and an answer is judged by whether it is documented.
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                  response_headers_conformance";
    program.args(["--checks", checks, "--continue-on-failure", "--request-timeout", "30"]);
    // A stream does not end by itself.
    program.args(["--exclude-path", "/api/v1/events"]);
    let output = program.stdin(Stdio::null()).output().expect("schemathesis can be started");
    let report =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("reference"), "every part of the document is tried:\n{report}");
    assert!(report.contains("generated") && !report.contains("failed"), "{report}");
}
