//! A token never comes out again: not in an error, whatever place it slipped into, and not in `Debug`.

use proptest::prelude::*;

use super::{Files, INI, TOKEN, YAML, run};
use crate::config::Origin;
use crate::config::grammar::{grammar, setting_names};

/// A token with what real ones have, at least one digit included.
fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9*?&@_.=-]{3,12}[0-9][A-Za-z0-9*?&@)_-]{3,12}"
}

fn assert_silent(files: &Files, token: &str, args: &[&str], environment: &[(&str, &str)]) {
    let dir = files.0.path().to_str().unwrap();
    let args = std::iter::once("devstatus")
        .chain(args.iter().copied())
        .map(|word| word.replace("{dir}", dir).into());
    let result = crate::config::load(args, environment.iter().map(|(name, value)| (*name, *value)));
    if let Err(stop) = &result {
        assert!(!stop.to_string().contains(token), "{stop}");
        assert!(!format!("{stop:?}").contains(token), "{stop:?}");
    }
}

proptest! {
    // A case goes through every flag and variable, so one is much; a long campaign asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(256),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn in_the_place_of_any_flag_or_variable(tokens in prop::collection::vec(token(), 8)) {
        let files = Files::new();
        let names = setting_names(grammar());
        for (long, token) in names.into_iter().zip(tokens.iter().cycle()) {
            let (long, variable) = (long.as_str(), Origin::variable_of(&long));
            // The settings file is named in errors, so that it can be found.
            if long == "config" { continue }
            let flag = format!("--{long}={token}");
            let rest = ["-o", "org", "--broker", "mqtt://h"];
            for verb in ["serve", "demo", "simulate"] {
                if !["broker", "organization", "verbose"].contains(&long) && long != "id" {
                    let broker = if verb == "demo" { &[][..] } else { &rest[..] };
                    assert_silent(&files, token, &[&[verb, &flag], broker].concat(), &[]);
                    assert_silent(&files, token, &[&[verb], broker].concat(), &[(&variable, token)]);
                }
                assert_silent(&files, token, &[verb, &flag], &[]);
                assert_silent(&files, token, &[verb], &[(&variable, token)]);
            }
        }
        for token in &tokens {
            for typed in [token.clone(), format!("-{token}"), format!("--{token}"), format!("--tokn={token}"), format!("-x{token}")] {
                assert_silent(&files, token, &[&typed], &[]);
                assert_silent(&files, token, &["demo", &typed], &[]);
            }
            assert_silent(&files, token, &["--broker", &format!("mqtt://user:{token}@host")], &[]);
            for url in ["postgres://u:{token}@h/d", "postgres://u:{token}@h/d?x", "valkey://:{token}@", "redis://{token}@h:x"] {
                let url = url.replace("{token}", token);
                assert_silent(&files, token, &["-o", "org", "--broker", "mqtt://h", "--store", &url], &[]);
            }
            assert_silent(&files, token, &[], &[(&format!("DEVSTATUS_{token}"), "x")]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_line_of_a_file(token in token(), place in any::<prop::sample::Index>(), length in 0usize..8) {
        let files = Files::new();
        for (name, text) in [("x.cfg", INI), ("x.yaml", YAML)] {
            // The token instead of any few characters: between keys, over separators, across lines.
            let start = place.index(text.len());
            let end = (start + length).min(text.len());
            let text = format!("{}{token}{}", &text[..start], &text[end..]);
            files.add(name, text);
            assert_silent(&files, &token, &["-c", &format!("{{dir}}/{name}")], &[]);
            assert_silent(&files, &token, &["-c", &format!("{{dir}}/{name}"), "-p", "x"], &[]);
        }
    }
}

#[test]
fn debug_of_the_settings_hides_the_token() {
    let files = Files::new();
    files.add("app.cfg", INI);
    for line in [
        "-c {dir}/app.cfg",
        "-c {dir}/app.cfg --store postgres://u:{password}@h",
        "simulate --broker mqtt://h -c {dir}/app.cfg",
    ] {
        let line = line.replace("{password}", &TOKEN.replace('?', "%3F"));
        let shown = format!("{:?}", run(&files, &line, &[]).unwrap());
        assert!(shown.contains("[redacted]") && !shown.contains(TOKEN), "{shown}");
    }
}
