//! The command line: its grammar and help, built from `table`, and its faults in our own words. clap's texts quote what
//! was typed, which may be the token, so they are not used.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;

use super::Stop;
use super::refusal::{Origin, Refusal, nearest, showable};
use super::setting::{Setting, Spec, Verb};
use super::table::SPECS;
use super::values::Given;
use crate::secret::Secret;

const ABOUT: &str = "Answers over HTTP which devices of an IoT fleet are connected";
const KEYS_ABOUT: &str = "Makes, lists and revokes API keys";
const LOGIN: &str = "The token of the API key is best kept in a file for --token-file: an argument can be seen by other \
                     users of the machine, and stays in the shell's history.";
const ORDER: &str = "A flag beats its DEVSTATUS_ variable, which beats the platform's WIOTP_ variable, which beats the \
                     file, which beats the default.";

/// The command line taken apart.
pub(super) struct Arguments {
    pub verb: Verb,
    pub flags: Vec<Given>,
    /// What the verb's operands were given, in their order.
    pub operands: Vec<String>,
}

/// The subcommand, the flags and the operands given to it.
pub(super) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Arguments, Stop> {
    let matches = grammar().try_get_matches_from(args).map_err(|error| stop(&error))?;
    let (mut words, mut matches) = (Vec::new(), &matches);
    while let Some((word, of_subcommand)) = matches.subcommand() {
        words.push(word);
        matches = of_subcommand;
    }
    let verb = Verb::ALL.into_iter().find(|verb| verb.words() == words).unwrap_or(Verb::Serve);
    let flags = SPECS.iter().filter(|spec| spec.verbs.contains(&verb)).filter_map(|spec| flag(spec, matches));
    let operands = verb.operands().iter().filter_map(|name| matches.get_one::<OsString>(name));
    let operands = operands.map(|text| text.to_str().map(str::to_owned)).collect::<Option<_>>();
    let what = "an operand is no UTF-8 text".to_owned();
    Ok(Arguments {
        verb,
        flags: flags.collect::<Result<_, _>>()?,
        operands: operands.ok_or(Refusal::Arguments { what })?,
    })
}

/// The completions for a shell, as a script for it.
pub(super) fn completions(operands: &[String]) -> Result<Stop, Refusal> {
    let shell = match operands.first().map(String::as_str) {
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        _ => return Err(Refusal::Arguments { what: "SHELL: expected bash, zsh or fish".to_owned() }),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut grammar(), "devstatus", &mut script);
    Ok(Stop::Answer(String::from_utf8_lossy(&script).into_owned()))
}

/// The whole grammar. The flags of `serve` also stand without it.
fn grammar() -> Command {
    let mut command = verb(Command::new("devstatus"), Verb::Serve)
        .about(ABOUT)
        // Not the name it was started by, so that the help is the same everywhere.
        .bin_name("devstatus")
        .version(env!("CARGO_PKG_VERSION"))
        .args_conflicts_with_subcommands(true);
    let mut keys = Command::new("keys").about(KEYS_ABOUT).subcommand_required(true);
    for one in Verb::ALL {
        let grammar = |word| verb(Command::new(word).about(one.about()), one);
        match one.words() {
            [word] => command = command.subcommand(grammar(*word)),
            [_, word] => keys = keys.subcommand(grammar(*word)),
            _ => {}
        }
    }
    command.subcommand(keys)
}

fn verb(command: Command, verb: Verb) -> Command {
    let flags = SPECS.iter().filter(|spec| spec.verbs.contains(&verb)).filter_map(argument);
    let notes = [verb.exit_codes(), Some(ORDER), verb.connects().then_some(LOGIN)];
    let after = notes.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    let operands = verb
        .operands()
        .iter()
        // A number with a minus can be no flag, so it needs no `--` before it.
        .map(|name| {
            let operand = Arg::new(*name).value_name(*name).required(true).allow_negative_numbers(true);
            operand.value_parser(ValueParser::os_string())
        });
    command.args(flags).args(operands).after_help(after)
}

fn argument(spec: &Spec) -> Option<Arg> {
    let long = spec.long?;
    let mut help = spec.help.to_owned();
    let places = [
        spec.variable().map(|name| format!("env: {name}")),
        spec.default.map(|text| format!("default: {text}")),
    ];
    for place in places.into_iter().flatten() {
        help.push_str(&format!(" [{place}]"));
    }
    let mut argument = Arg::new(long).long(long).help(help);
    if let Some(short) = spec.short {
        argument = argument.short(short);
    }
    if let Some(alias) = spec.alias {
        argument = argument.visible_alias(alias);
    }
    Some(match spec.value {
        // Texts of any bytes: what they must be is checked in one place for flags, variables and files. A token may
        // begin with a dash, and an order from the end does.
        Some(value) => {
            argument = argument
                .value_name(value)
                .value_parser(ValueParser::os_string())
                .allow_negative_numbers(true)
                .allow_hyphen_values(matches!(spec.setting, Setting::Token | Setting::Sort));
            if spec.repeatable {
                argument = argument.action(ArgAction::Append);
            }
            if spec.value_optional {
                argument = argument.num_args(0..=1).default_missing_value("");
            }
            argument
        }
        None => argument.action(ArgAction::Count),
    })
}

fn flag(spec: &'static Spec, matches: &ArgMatches) -> Option<Result<Given, Refusal>> {
    let long = spec.long?;
    let origin = Origin::Flag(long);
    let text = match spec.value {
        Some(_) => {
            let texts: Option<Vec<_>> =
                matches.get_many::<OsString>(long)?.map(|text| text.to_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        None => {
            Some(matches.get_count(long)).filter(|count| *count > 0).map(|count| Some(count.to_string()))?
        }
    };
    Some(match text {
        Some(text) => Ok(Given { setting: spec.setting, text: Secret::new(text), origin }),
        None => Err(Refusal::Invalid { origin, expected: "UTF-8 text".to_owned() }),
    })
}

/// What clap says, in our own words and one line.
fn stop(error: &clap::Error) -> Stop {
    let what = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Stop::Answer(error.render().to_string());
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => unknown(error),
        ErrorKind::InvalidValue => match named(error) {
            Some(flag) => format!("{flag}: a value is missing"),
            None => "a flag has no value".to_owned(),
        },
        ErrorKind::TooManyValues => match named(error) {
            Some(flag) => format!("{flag} takes no value"),
            None => "a flag has a value that takes none".to_owned(),
        },
        ErrorKind::ArgumentConflict => match (error.get(ContextKind::InvalidSubcommand), named(error)) {
            (None, Some(flag)) => format!("{flag} stands twice"),
            (Some(_), _) | (None, None) => "flags stand after the subcommand, not before it".to_owned(),
        },
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "a subcommand is missing".to_owned()
        }
        ErrorKind::MissingRequiredArgument => "an operand is missing".to_owned(),
        _ => "the arguments cannot be understood".to_owned(),
    };
    Stop::Refused(Refusal::Arguments { what })
}

fn unknown(error: &clap::Error) -> String {
    let typed = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(typed)) => typed.as_str(),
        _ => "",
    };
    let Some(name) = typed.strip_prefix("--").and_then(showable) else {
        let short = typed.strip_prefix('-').filter(|rest| rest.len() == 1).and_then(showable);
        return match short {
            Some(short)
                if SPECS.iter().any(|spec| spec.short.is_some_and(|known| short.starts_with(known))) =>
            {
                format!("this subcommand has no flag -{short}")
            }
            Some(short) => format!("unknown flag -{short}: an operand that begins with - goes behind --"),
            None => "an argument is neither a flag nor a subcommand".to_owned(),
        };
    };
    match nearest(&name, SPECS.iter().filter_map(|spec| spec.long)) {
        Some(near) if near == name => format!("this subcommand has no flag --{name}"),
        Some(near) => format!("unknown flag --{name}: did you mean --{near}?"),
        None => format!("unknown flag --{name}"),
    }
}

/// The known flag an error is about: clap adds to it, as in `--port <PORT>` and `--verbose...`.
fn named(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(usage)) = error.get(ContextKind::InvalidArg) else { return None };
    let long = usage.split([' ', '=', '.']).next()?.strip_prefix("--")?;
    SPECS.iter().find(|spec| spec.long == Some(long)).map(|_| format!("--{long}"))
}
