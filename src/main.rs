//! Parses the command line, starts, waits for a signal, stops. No logic.

use std::process::ExitCode;

use warung::config::{self, Command, ConfigCommand, Loaded};
use warung::error::Result;
use warung::{commands, logging, version};

fn main() -> ExitCode {
    tune_allocator();
    warung::memory::give_back_with(trim);
    let loaded = match config::load(std::env::args_os().skip(1)) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error),
    };
    let config = &loaded.config;
    let journal = config.journal_stream.as_deref();
    logging::start(config.log.into(), config.log_format, journal);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)))
        .max_blocking_threads(16)
        .thread_stack_size(2 << 20)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(loaded)).unwrap_or_else(|e| fail(&e)),
        Err(error) => fail(&warung::error::Error::internal(error)),
    }
}

async fn run(loaded: Loaded) -> Result<ExitCode> {
    let config = loaded.config.clone();
    match loaded.command.clone() {
        Command::Serve => commands::serve(&loaded).await?,
        #[cfg(feature = "sandbox")]
        Command::Sandbox => commands::sandbox(&loaded).await?,
        #[cfg(feature = "sandbox")]
        Command::Network => commands::network(&loaded).await?,
        #[cfg(not(feature = "sandbox"))]
        Command::Sandbox | Command::Network => {
            unreachable!("refused when the settings were checked")
        }
        #[cfg(feature = "sandbox")]
        Command::Manual { folder } => warung::manual::write(&folder)?,
        Command::Check => return commands::check(&config),
        Command::Pair { session } => commands::pair(&config, &session).await?,
        Command::Send(words) => {
            return commands::send(&config, words.session(), words.to(), words.text()).await;
        }
        Command::Backup { file } => commands::backup(&config, &file).await?,
        Command::Restore { file } => commands::restore(&config, &file)?,
        Command::Import(what) => return commands::import(&config, &what).await,
        Command::Healthcheck => commands::healthcheck(&config).await?,
        Command::SelfCheck { url } => {
            let works = warung::self_check::run(&config, url.as_deref()).await?;
            return Ok(ExitCode::from(u8::from(!works)));
        }
        Command::Key(what) => commands::key(&config, what).await?,
        Command::Config(ConfigCommand::Check) => commands::check_settings(&loaded)?,
        Command::Config(ConfigCommand::Show) => commands::print(&loaded.show()?)?,
        Command::Version { json: false } => commands::print(&version::details())?,
        Command::Version { json: true } => commands::print(&version::json().to_string())?,
        Command::Licenses => {
            let source = config.source_url.as_deref();
            commands::print(&warung::licences::notices(source))?;
        }
        Command::Print(text) => commands::print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fail(error: &warung::error::Error) -> ExitCode {
    commands::complain(error);
    ExitCode::FAILURE
}

/// Makes glibc give memory back: after image work 7.6 MB stay instead of 66 MB.
fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "mallopt has no safe form; no other thread runs yet"
    )]
    // SAFETY: mallopt only sets numbers of the allocator, before the first thread is started.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives free memory back that lies between what is in use, where no threshold finds it.
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "malloc_trim has no safe form")]
    // SAFETY: malloc_trim takes a number, locks the arenas itself, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
