//! Arguments -> settings -> the command -> exit code.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Once};
use std::time::Duration;

use crate::app::{self, NotifySettings, NotifySource, StartSettings};
use crate::log::start_log;
use crate::progress::Screen;
use crate::{demo, hide_secrets};
use cli::client::{self, ClientError};
use cli::config::{self, ClientSettings, Command, ExchangeSettings, Settings, Stop};
use cli::exchange::settings::ExportFormat;
use cli::exchange::{self, ExchangeError};
use cli::{keys, rules, simulate, sources};
use formats::catalog::Formats;
use futures_util::future::join_all;
use serving::api::MakeApi;
use system::{sentence, slice};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Does what the arguments of the process say; `make_api` makes what answers requests.
pub fn run_given(make_api: MakeApi) -> ExitCode {
    let given = hide_secrets::given();
    let command = match config::load(given.arguments.clone(), given.environment.clone()) {
        Ok(command) => command,
        Err(stop) => return refuse(&stop),
    };
    if let Err(error) = hide_secrets::from_process_title(&command, &given) {
        eprintln!("devstatus: cannot take the secret out of the process title: {error}");
        return ExitCode::FAILURE;
    }
    let log = match &command {
        Command::Serve(settings) => settings.log,
        Command::Demo(settings) => settings.log,
        Command::Simulate(settings) => settings.log,
        Command::Export(settings, _) | Command::Import(settings) => settings.log,
        Command::Keys(settings) => settings.log,
        Command::TestRules(settings) => settings.log,
        Command::Client(settings) => return ask(settings.clone()),
        Command::TestSource(formats) => return test_source(formats),
        Command::CheckRules(set) => return answer(&rules::description(set)),
        Command::ListSources => return answer(&sources::list()),
    };
    let screen = start_log(log);
    match run(command, make_api, screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", sentence(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Help goes to stdout, a refusal to stderr.
fn refuse(stop: &Stop) -> ExitCode {
    match stop {
        Stop::Answer(text) => answer(text),
        Stop::Refused(refusal) => {
            eprintln!("devstatus: {refusal}");
            ExitCode::from(stop.exit_code())
        }
    }
}

/// Says what was asked for, and nothing else.
fn answer(text: &str) -> ExitCode {
    // The reader may have read enough.
    drop(show(text));
    ExitCode::SUCCESS
}

fn show(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

type AnyError = Box<dyn std::error::Error>;

/// Lets the kernel prefer threads that answer lookups, when they wake, to those that compute. Where the kernel refuses, lookups wait.
fn shorten_slice(to: Duration) {
    static LOGGED: Once = Once::new();
    if let Err(error) = slice::shorten(to) {
        LOGGED.call_once(|| tracing::debug!(%error, "the system gives no short slices of the processor"));
    }
}

fn run(command: Command, make_api: MakeApi, screen: Screen) -> Result<(), AnyError> {
    // For all threads, as they come from this one.
    shorten_slice(slice::SHORT);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Lookups are answered on these threads; those for work that blocks cannot be told from them.
        .on_thread_start(|| shorten_slice(slice::SHORTEST))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        stop_on_signal(shutdown.clone())?;
        match command {
            Command::Serve(settings) => serve(settings, make_api, screen, shutdown).await,
            Command::Demo(settings) => {
                Ok(demo::run(settings, make_api, shutdown, |text| drop(show(text))).await?)
            }
            Command::Simulate(settings) => Ok(simulate::run(settings, shutdown).await?),
            Command::Export(settings, format) => Ok(export(settings, format, &screen, shutdown).await?),
            Command::Import(settings) => Ok(import(settings, &screen, shutdown).await?),
            Command::Keys(settings) => Ok(keys::run(settings, show)?),
            Command::Client(settings) => Ok(client::run(settings).await.map(drop)?),
            Command::TestRules(settings) => Ok(rules::test(settings, shutdown, show).await?),
            Command::TestSource(formats) => Ok(sources::test(&formats, io::stdin().lock(), io::stdout())?),
            Command::CheckRules(set) => Ok(show(&rules::description(&set))?),
            Command::ListSources => Ok(show(&sources::list())?),
        }
    })
}

/// Tries formats on lines. Nothing is logged: the answer is the output.
fn test_source(formats: &Formats) -> ExitCode {
    match sources::test(formats, io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devstatus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks a running service. Nothing is logged: the answer is the output, and an error is a line.
fn ask(settings: ClientSettings) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(ClientError::from).and_then(|runtime| {
        let asked = runtime.block_on(client::run(settings));
        // A stream that was broken off may still wait for its next line.
        runtime.shutdown_background();
        asked
    });
    match asked {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(error) => {
            eprintln!("devstatus: {}", client::plain(&sentence(&error)));
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    settings: Settings,
    make_api: MakeApi,
    screen: Screen,
    shutdown: CancellationToken,
) -> Result<(), AnyError> {
    if let Some(dry_run) = settings.dry_run {
        let sources = [settings.source].into_iter().chain(settings.further);
        let each = sources.map(|source| sources::dry_run(source, dry_run, shutdown.clone()));
        // One that cannot connect leaves the others working; the first such error is the outcome.
        return Ok(join_all(each).await.into_iter().collect::<Result<(), _>>()?);
    }
    let notify = NotifySettings { endpoints: settings.webhooks, rules: settings.rules };
    let settings = StartSettings {
        source: settings.source,
        further: settings.further,
        http: settings.http,
        store: settings.store,
        notify: NotifySource {
            settings: notify,
            reread: Some(Arc::new(notify_settings_again)),
            republish: settings.republish,
        },
    };
    let running = app::start(settings, make_api, shutdown.clone()).await?;
    tokio::spawn(screen.show(running.progress.clone(), shutdown));
    Ok(running.wait().await?)
}

/// Webhooks and alert rules as the settings have them now; other settings count from the next start.
fn notify_settings_again() -> Result<NotifySettings, String> {
    let given = hide_secrets::given();
    match config::load(given.arguments, given.environment) {
        Ok(Command::Serve(settings)) => {
            Ok(NotifySettings { endpoints: settings.webhooks, rules: settings.rules })
        }
        Ok(_) | Err(Stop::Answer(_)) => Ok(NotifySettings::default()),
        Err(Stop::Refused(refusal)) => Err(refusal.to_string()),
    }
}

async fn export(
    settings: ExchangeSettings,
    format: ExportFormat,
    screen: &Screen,
    shutdown: CancellationToken,
) -> Result<(), ExchangeError> {
    let ExchangeSettings { store, file, .. } = settings;
    let bar = screen.count("{pos} of {len} devices, {per_sec}");
    let devices = exchange::export(&store, format, file, bar.clone(), shutdown).await;
    bar.finish_and_clear();
    tracing::info!(devices = devices?, "exported");
    Ok(())
}

async fn import(
    settings: ExchangeSettings,
    screen: &Screen,
    shutdown: CancellationToken,
) -> Result<(), ExchangeError> {
    let ExchangeSettings { store, file, .. } = settings;
    let bar = screen.count("{bytes} of {total_bytes}, {bytes_per_sec}");
    let devices = exchange::import(&store, file, bar.clone(), shutdown).await;
    bar.finish_and_clear();
    tracing::info!(devices = devices?, "imported");
    Ok(())
}

/// SIGINT, SIGTERM and SIGQUIT ask for an orderly stop. So does SIGHUP in a terminal, which was closed.
fn stop_on_signal(shutdown: CancellationToken) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut quit = signal(SignalKind::quit())?;
    let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    // At the start: the terminal that was closed cannot be opened any more.
    let in_terminal = File::open("/dev/tty").is_ok();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = quit.recv() => "SIGQUIT",
            () = terminal_closed(hangup, in_terminal) => "SIGHUP",
        };
        tracing::info!(signal = name, "stopping");
        shutdown.cancel();
    });
    Ok(())
}

/// Waits for SIGHUP in a terminal. Without one it is a supervisor's request to reload, and there is nothing to do.
async fn terminal_closed(hangup: Option<Signal>, in_terminal: bool) {
    if let Some(mut hangup) = hangup {
        while hangup.recv().await.is_some() {
            if in_terminal {
                return;
            }
            tracing::info!(
                "SIGHUP: going on; files of keys and certificates are read again whenever they change"
            );
        }
    }
    std::future::pending().await
}

/// Whether the process is to outlive its terminal, as `nohup` does.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0)
}
