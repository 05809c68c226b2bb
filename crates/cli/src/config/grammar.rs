//! From arguments, variables and files to the typed settings of `arguments`, and clap's faults in our own words: clap's texts
//! quote what was typed, which may be the token.
//!
//! The arguments are parsed twice. The first time says which subcommand and which file are meant, and what is wrong with the
//! arguments themselves. The second time, variables and file are the defaults, so that what is wrong then is wrong there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Subcommand};

use super::Stop;
use super::arguments::{Cli, Question, RULES_SINCE, SOURCE_FILTER, with_after_help, with_client_args};
use super::layers::Layers;
use super::refusal::{ConfigError, Origin, nearest, showable};
use super::value::{self, Expected};

/// The whole grammar.
pub(super) fn grammar() -> &'static Command {
    static GRAMMAR: LazyLock<Command> = LazyLock::new(|| {
        let questions = |verb: Command| {
            if Question::has_subcommand(verb.get_name()) { with_client_args(verb) } else { verb }
        };
        with_variables(Cli::command().mut_subcommands(questions))
    });
    &GRAMMAR
}

/// The help with the names of the variables, and flags as variables and files can give them.
fn with_variables(command: Command) -> Command {
    let command = with_after_help(command.mut_subcommands(with_variables));
    command.mut_args(|arg| {
        let arg = if matches!(arg.get_action(), ArgAction::SetTrue) { switch(arg) } else { arg };
        // A number with a minus can be no flag, so an operand needs no `--` before it.
        let Some(long) = arg.get_long() else { return arg.allow_negative_numbers(true) };
        if is_flag_alone(&arg) {
            return arg;
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let variable = Origin::variable_of(long);
        let takes_value = arg.get_action().takes_values();
        // `--port -1` is a value that is refused, and no flag `-1`.
        arg.help(format!("{help} [env: {variable}]")).allow_negative_numbers(takes_value)
    })
}

/// A flag that is true if it is given without a value. With one, variables and files can say that it is false.
fn switch(flag: Arg) -> Arg {
    let flag = flag.action(ArgAction::Set).value_name("BOOL").value_parser(value::boolean);
    let flag = flag.num_args(0..=1).require_equals(true).default_missing_value("true");
    flag.default_value("false").hide_default_value(true)
}

/// Whether it shares its name with another setting, so that no variable and no file gives it.
fn is_flag_alone(arg: &Arg) -> bool {
    [SOURCE_FILTER, RULES_SINCE].iter().any(|id| arg.get_id() == id)
}

/// The long flags of all subcommands, which are the names of all settings, in the order of the help.
pub(super) fn setting_names(command: &Command) -> Vec<String> {
    let mut names: Vec<String> =
        command.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect();
    for subcommand in command.get_subcommands() {
        names.extend(setting_names(subcommand));
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The arguments as they were typed.
pub(super) struct TypedArguments {
    args: Vec<OsString>,
    /// The words of the subcommand.
    pub verb: Vec<String>,
    /// The settings that were given as flags, with their texts.
    flags: BTreeMap<String, Vec<OsString>>,
}

impl TypedArguments {
    pub fn read(args: Vec<OsString>, grammar: &Command) -> Result<Self, Stop> {
        // As clap completes it, with --help and --version.
        let mut grammar = grammar.clone();
        let matches = grammar.try_get_matches_from_mut(&args).map_err(|error| {
            behind_dashes(&error, &args, &grammar)
                .unwrap_or_else(|| stop(&error, &grammar, &Layers::default()))
        })?;
        let (mut verb, mut matches, mut command) = (Vec::new(), &matches, &grammar);
        while let Some((word, of_subcommand)) = matches.subcommand() {
            verb.push(word.to_owned());
            matches = of_subcommand;
            command = command.find_subcommand(word).unwrap_or(command);
        }
        Ok(Self { flags: typed_flags(command, matches), args, verb })
    }

    /// The text of a flag that was typed once.
    pub fn flag(&self, setting: &str) -> Option<&OsString> {
        self.flags.get(setting)?.first()
    }

    /// The arguments with the layers as defaults.
    pub fn parse(self, grammar: &Command, layers: Layers) -> Result<(Cli, Origins), Stop> {
        let cli = parse(grammar, &self.verb, &self.args, &layers)?;
        Ok((cli, Origins { flags: self.flags, layers, table: None }))
    }
}

/// What `command` makes of the arguments, with the layers as defaults of the subcommand of these words.
fn parse<T: FromArgMatches>(
    command: &Command,
    verb: &[String],
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    layers: &Layers,
) -> Result<T, Stop> {
    let matches = with_defaults(command.clone(), verb, layers).try_get_matches_from(args);
    let parsed = matches.and_then(|matches| T::from_arg_matches(&matches));
    parsed.map_err(|error| stop(&error, command, layers))
}

fn typed_flags(command: &Command, matches: &ArgMatches) -> BTreeMap<String, Vec<OsString>> {
    let given = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let texts = |arg: &Arg| {
        let raw = matches.get_raw(arg.get_id().as_str());
        raw.map(|raw| raw.map(ToOwned::to_owned).collect()).unwrap_or_default()
    };
    command
        .get_arguments()
        .filter(given)
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), texts(arg))))
        .collect()
}

fn with_defaults(command: Command, verb: &[String], layers: &Layers) -> Command {
    if let Some((word, rest)) = verb.split_first() {
        return command.mut_subcommand(word, |subcommand| with_defaults(subcommand, rest, layers));
    }
    let setting = |arg: &Arg| arg.get_long().filter(|_| !is_flag_alone(arg)).map(str::to_owned);
    command.mut_args(|arg| match setting(&arg).and_then(|long| layers.get(&long)) {
        Some(given) => arg.default_value(given.text.expose().to_owned()),
        None => arg,
    })
}

/// Where each setting was given.
#[derive(Clone)]
pub(super) struct Origins {
    flags: BTreeMap<String, Vec<OsString>>,
    layers: Layers,
    /// The table that has the settings; `None`: they are those of the program.
    table: Option<Origin>,
}

impl Origins {
    /// Of a table, which flags do not reach.
    pub fn of_table(table: Origin, layers: Layers) -> Self {
        Self { flags: BTreeMap::new(), layers, table: Some(table) }
    }

    /// `None`: nowhere, so that the default holds.
    pub fn of(&self, setting: &str) -> Option<Origin> {
        let flag = self.flags.contains_key(setting).then(|| Origin::Flag(setting.to_owned()));
        flag.or_else(|| self.layers.get(setting).map(|given| given.origin.clone()))
    }

    /// The text that was given; `None`: nowhere.
    pub fn text(&self, setting: &str) -> Option<String> {
        if let Some(texts) = self.flags.get(setting) {
            let texts: Vec<_> = texts.iter().map(|text| text.to_string_lossy()).collect();
            return Some(texts.join(","));
        }
        self.layers.get(setting).map(|given| given.text.expose().to_owned())
    }

    /// Settings beside those of the subcommand itself.
    pub fn parse<T: CommandFactory + FromArgMatches>(&self) -> Result<T, Stop> {
        let command = with_variables(T::command());
        let mut args = vec![OsString::from("devstatus")];
        for setting in command.get_arguments().filter_map(Arg::get_long) {
            for text in self.flags.get(setting).into_iter().flatten() {
                let mut arg = OsString::from(format!("--{setting}="));
                arg.push(text);
                args.push(arg);
            }
        }
        parse(&command, &[], args, &self.layers)
    }

    /// Where the setting was given, or its flag, with which it could be.
    pub fn origin(&self, setting: &str) -> Origin {
        self.of(setting).unwrap_or_else(|| Origin::Flag(setting.to_owned()))
    }

    /// The refusal of the value of a setting.
    pub fn expected(&self, setting: &str, expected: impl Into<String>) -> ConfigError {
        ConfigError::expected(&self.origin(setting), expected)
    }

    /// The refusal of settings that are given nowhere. What is missing in a table is missing there, and not as a flag.
    pub fn missing(&self, settings: Vec<&'static str>) -> ConfigError {
        match &self.table {
            Some(table) => {
                ConfigError::expected(table, format!("the key {} in this table", settings.join(" and ")))
            }
            None => ConfigError::Missing(settings),
        }
    }

    /// Two settings that are given together or not at all.
    pub fn together<A, B>(
        &self,
        (first_name, first): (&'static str, Option<A>),
        (second_name, second): (&'static str, Option<B>),
    ) -> Result<Option<(A, B)>, ConfigError> {
        match (first, second) {
            (Some(first), Some(second)) => Ok(Some((first, second))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.missing(vec![second_name])),
            (None, Some(_)) => Err(self.missing(vec![first_name])),
        }
    }

    /// Refuses two settings that cannot both be meant, if both are given.
    pub fn refuse_both(&self, one: &str, other: &str, why: &'static str) -> Result<(), ConfigError> {
        match self.of(one).zip(self.of(other)) {
            Some((one, other)) => Err(ConfigError::Contradiction { one, other, why }),
            None => Ok(()),
        }
    }

    /// The same, if neither can override the other: both are flags, both our variables, and so on.
    pub fn refuse_equal_rank(&self, one: &str, other: &str, why: &'static str) -> Result<(), ConfigError> {
        if self.rank(one) == self.rank(other) { self.refuse_both(one, other, why) } else { Ok(()) }
    }

    /// The order of precedence, the strongest first; the last is the default.
    pub fn rank(&self, setting: &str) -> u8 {
        match self.of(setting) {
            Some(Origin::Flag(_)) => 0,
            Some(Origin::Own(_)) => 1,
            Some(Origin::Platform(_)) => 2,
            Some(Origin::File { .. }) => 3,
            None => 4,
        }
    }
}

/// What clap says, in our own words and one line.
fn stop(error: &clap::Error, grammar: &Command, layers: &Layers) -> Stop {
    let names = setting_names(grammar);
    let setting = named(error, &names);
    let flag = setting.as_ref().map_or_else(|| "a flag".to_owned(), |setting| format!("--{setting}"));
    let what = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Stop::Answer(error.render().to_string());
        }
        ErrorKind::ValueValidation => {
            let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Expected>());
            // The number of repetitions is the only value that clap reads itself.
            let expected =
                cause.map_or_else(|| "a whole number from 0 to 255".to_owned(), ToString::to_string);
            if let Some(setting) = setting {
                let given = layers.get(&setting).map(|given| given.origin.clone());
                let origin = given.unwrap_or(Origin::Flag(setting));
                return Stop::Refused(ConfigError::expected(&origin, expected));
            }
            let operand = operand(error).map(|name| format!("{name}: ")).unwrap_or_default();
            format!("{operand}expected {expected}")
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => unknown(error, grammar, &names),
        ErrorKind::InvalidValue | ErrorKind::NoEquals => format!("{flag}: a value is missing"),
        ErrorKind::TooManyValues => format!("{flag} takes no value"),
        ErrorKind::ArgumentConflict if error.get(ContextKind::InvalidSubcommand).is_none() => {
            let given = invalid_arg(error).unwrap_or_default();
            match error.get(ContextKind::PriorArg) {
                Some(ContextValue::String(other)) if other != given => {
                    format!("{given} and {other} exclude each other")
                }
                _ => format!("{flag} is given twice"),
            }
        }
        ErrorKind::ArgumentConflict => "flags belong after the subcommand, not before it".to_owned(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "a subcommand is missing".to_owned()
        }
        ErrorKind::MissingRequiredArgument => "an operand is missing".to_owned(),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8 text".to_owned(),
        _ => "the arguments cannot be understood".to_owned(),
    };
    Stop::Refused(ConfigError::Arguments { what })
}

fn unknown(error: &clap::Error, grammar: &Command, names: &[String]) -> String {
    let typed = invalid_arg(error).unwrap_or_default();
    let Some(name) = typed.strip_prefix("--").and_then(showable) else {
        let short = typed.strip_prefix('-').filter(|rest| rest.len() == 1).and_then(showable);
        return match short {
            Some(short) if has_short(grammar, &short) => format!("this subcommand has no flag -{short}"),
            Some(short) => format!("unknown flag -{short}: an operand that begins with - goes behind --"),
            None => "an argument is neither a flag nor a subcommand".to_owned(),
        };
    };
    match nearest(&name, names.iter().map(String::as_str)) {
        Some(near) if near == name => format!("this subcommand has no flag --{name}"),
        Some(near) => format!("unknown flag --{name}: did you mean --{near}?"),
        None => format!("unknown flag --{name}"),
    }
}

/// A flag that was typed behind `--`, where everything is an operand; `None`: the fault is another one.
fn behind_dashes(error: &clap::Error, args: &[OsString], grammar: &Command) -> Option<Stop> {
    let operands = args.iter().skip_while(|arg| *arg != "--").skip(1);
    let typed = invalid_arg(error).filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let flag = operands.filter_map(|arg| arg.to_str()).find(|arg| *arg == typed)?;
    let name = flag.strip_prefix("--")?.split('=').next()?;
    let name = setting_names(grammar).into_iter().find(|known| known == name)?;
    let what = format!("--{name} is behind --, where everything is an operand: flags go before --");
    Some(Stop::Refused(ConfigError::Arguments { what }))
}

fn has_short(command: &Command, short: &str) -> bool {
    command.get_arguments().filter_map(Arg::get_short).any(|known| short.starts_with(known))
        || command.get_subcommands().any(|subcommand| has_short(subcommand, short))
}

fn invalid_arg(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// The setting an error is about: clap writes it as in `--port <PORT>` and `--verbose...`.
fn named(error: &clap::Error, names: &[String]) -> Option<String> {
    let long = invalid_arg(error)?.split([' ', '=', '.', '[']).next()?.strip_prefix("--")?;
    names.iter().find(|name| *name == long).cloned()
}

/// The operand an error is about, as in `<NAME>`.
fn operand(error: &clap::Error) -> Option<&str> {
    invalid_arg(error)?.strip_prefix('<')?.strip_suffix('>')
}
