//! Starts the vault, serves it, and stops it.
//!
//! The order of the start is what lets every refusal leave no trace: settings, keys (in memory),
//! ports, the database's schema, the encryption key; only then are new keys written.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use ed25519_dalek::SigningKey;
use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::{Database, Ledger, Options};
use nexus_projections::{ReadModels, ReadStore, rebuild};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::application::denials::Denials;
use crate::application::pending::Pending;
use crate::application::provider_health::ProvidersHealth;
use crate::application::recent::Recent;
use crate::application::waiters::{Waiters, stopped};
use crate::application::{Application, Keyring, Parts, Policy};
use crate::config::{Config, DatabaseChoice, SubjectBinding};
use crate::http::doors::{Access, Doors, broker, gateway};
use crate::http::serve::HEADERS_WITHIN;
use crate::keys::ServerKeys;
use crate::metrics::Metrics;
use crate::random::make_bytes;
use crate::session_tokens::SessionTokens;
use crate::upstream::{Upstream, UpstreamConfig};
use crate::user_context::UserContexts;
use crate::workers::{
    Comparisons, Rebuilds, Verifications, check_providers, keep_session_keys, rebuild_and_record,
    record_denials, record_last_denials, reload_keys, revoke_at_providers, sweep, upgrade_metadata,
};

/// How long requests under way may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
/// The setting that names the encryption key whose data this database holds.
const ENCRYPTION_KEY_ID: &str = "encryption_key_id";

/// The bound ports.
struct Listeners {
    gateway: TcpListener,
    broker: TcpListener,
}

/// Runs the vault until `stop` says so.
///
/// # Errors
/// A sentence that says why it did not start.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    let mut keys = ServerKeys::load(&config)?;
    let listeners = bind(&config).await?;
    let ledger = open_ledger(&config, &keys).await?;
    let outcome = run(&config, &mut keys, listeners, &ledger, stop).await;
    ledger.stop().await;
    outcome
}

async fn run(
    config: &Config,
    keys: &mut ServerKeys,
    listeners: Listeners,
    ledger: &Ledger,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let written = check_encryption_key(keys, ledger).await?;
    prepare_read_models(ledger).await?;
    let (gateway_address, broker_address) = (
        listeners.gateway.local_addr()?,
        listeners.broker.local_addr()?,
    );
    let (stopping, stopped) = watch::channel(false);
    let application = application(config, keys, ledger, gateway_address, stopped.clone())?;
    let rebuilds = Rebuilds::new(stopped.clone());
    let doors = Doors {
        application: application.clone(),
        keys: keys.api_keys.clone(),
        require_key: config.require_api_key,
        metrics: Metrics::default(),
        subject_binding: config.subject_binding,
        resolve_needs_key: config.resolve_require_api_key,
        rebuilds: rebuilds.clone(),
        comparisons: Comparisons::new(stopped.clone()),
        verifications: Verifications::default(),
    };
    let access = access(config);
    let upgrade = tokio::spawn(rebuilds.upgrade(application.clone()));
    let reloader = tokio::spawn(reload_keys(
        application.clone(),
        config.clone(),
        keys.api_keys.clone(),
    ));
    let waker = tokio::spawn(application.clone().wake_waiters());
    let pending = tokio::spawn(application.clone().follow_pending());
    let denials = tokio::spawn(record_denials(application.clone(), stopped.clone()));
    let sweeper = tokio::spawn(sweep(application.clone(), stopped.clone()));
    let session_keys = tokio::spawn(keep_session_keys(application.clone(), stopped.clone()));
    let revoker = tokio::spawn(revoke_at_providers(application.clone(), stopped.clone()));
    let checker = tokio::spawn(check_providers(
        application.clone(),
        config.health_check_interval,
        stopped.clone(),
    ));
    let gateway = tokio::spawn(serve_surface(
        listeners.gateway,
        gateway(doors.clone(), &access),
        stopped.clone(),
    ));
    let broker = tokio::spawn(serve_surface(
        listeners.broker,
        broker(
            Doors {
                // Operators call for nobody.
                subject_binding: SubjectBinding::Off,
                ..doors
            },
            &access,
        ),
        stopped,
    ));
    announce(config, &written, gateway_address, broker_address);
    stop.await;
    tracing::info!("stopping");
    stopping.send_replace(true);
    let drained = async {
        tokio::join!(
            gateway,
            broker,
            sweeper,
            upgrade,
            waker,
            reloader,
            revoker,
            pending,
            denials,
            checker,
            session_keys
        )
    };
    if tokio::time::timeout(DRAIN_WITHIN, drained).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    record_last_denials(&application).await;
    application.stop(DRAIN_WITHIN).await;
    Ok(())
}

fn access(config: &Config) -> Access {
    Access {
        redirect_path: config.redirect_path.clone(),
        all_need_keys: config.gateway_require_api_key,
        metrics_need_key: config.metrics_require_api_key,
        allowed: config.allowed_cidrs.as_deref().map(Arc::from),
        trusted_proxies: Arc::from(config.trusted_proxies.as_slice()),
        limits: config.rate_limits,
        cors_origins: config.cors_allowed_origins.clone(),
    }
}

async fn bind(config: &Config) -> Result<Listeners> {
    let bind = |port: u16, setting: &'static str| async move {
        let address = SocketAddr::new(config.bind_address, port);
        TcpListener::bind(address)
            .await
            .with_context(|| format!("{setting}: {address} cannot be listened on"))
    };
    Ok(Listeners {
        gateway: bind(config.gateway_port, "PORT").await?,
        broker: bind(config.broker_port, "BROKER_PORT").await?,
    })
}

async fn open_ledger(config: &Config, keys: &ServerKeys) -> Result<Ledger> {
    let database = match &config.database {
        DatabaseChoice::Sqlite { path } => {
            make_directory_of(path)?;
            Database::Sqlite { path: path.clone() }
        }
        DatabaseChoice::Postgres { url } => Database::Postgres(
            PostgresOptions::parse(url.expose(), None, None)
                .map_err(|problem| anyhow::anyhow!("DATABASE_URL: {problem}"))?,
        ),
    };
    let node: [u8; 8] = make_bytes()?;
    let options = Options {
        database,
        projector: Some(Box::new(ReadModels::default())),
        snapshot_every: usize::try_from(config.snapshot_every).unwrap_or(usize::MAX),
        queue_capacity: config.queue_capacity,
        node_id: format!("{:016x}", u64::from_be_bytes(node)),
        checkpoint_key: Some(SigningKey::from_bytes(keys.audit_seed.expose())),
        origin: "nexus".to_owned(),
    };
    Ok(Ledger::open(options).await?)
}

/// A new data directory is the server's alone.
fn make_directory_of(database: &Path) -> Result<()> {
    match database.parent() {
        Some(directory) if !directory.as_os_str().is_empty() && !directory.exists() => {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            made.with_context(|| format!("{} cannot be made", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Refuses to serve data that another encryption key sealed; new keys are written once it is sure
/// that they are the right ones. Returns the files written.
async fn check_encryption_key(keys: &mut ServerKeys, ledger: &Ledger) -> Result<Vec<PathBuf>> {
    let ours = keys.kek.id().to_owned();
    let refuse = |theirs: &str| -> Result<()> {
        bail!(
            "the database was sealed with another encryption key ({theirs}) than the one given ({ours}); set ENCRYPTION_KEY, or restore encryption.key"
        )
    };
    match ledger.backend().setting(ENCRYPTION_KEY_ID).await? {
        Some(theirs) if theirs != ours => refuse(&theirs)?,
        _ => {}
    }
    let written = keys.save_new()?;
    let theirs = ledger
        .backend()
        .put_setting_if_absent(ENCRYPTION_KEY_ID, &ours)
        .await?;
    if theirs != ours {
        refuse(&theirs)?;
    }
    Ok(written)
}

/// Rows that an older version of the program made serve until they are rebuilt, beside the
/// requests. Rows of a newer version are rebuilt before anything is served: what they mean is not
/// known here.
async fn prepare_read_models(ledger: &Ledger) -> Result<()> {
    rebuild::prepare(ledger.backend()).await?;
    for read_model in rebuild::outdated(ledger.backend()).await? {
        if read_model.newer {
            let name = &read_model.name;
            tracing::info!(name, "rebuilding a read model of a newer version");
            rebuild_and_record(ledger, name, upgrade_metadata(), |_| ())
                .await
                .map_err(anyhow::Error::msg)?;
        }
    }
    Ok(())
}

fn application(
    config: &Config,
    keys: &ServerKeys,
    ledger: &Ledger,
    gateway: SocketAddr,
    stopping: watch::Receiver<bool>,
) -> Result<Application> {
    Ok(Application::new(Parts {
        ledger: ledger.clone(),
        reads: ReadStore::new(ledger.backend()),
        recent: Recent::default(),
        upstream: Upstream::new(UpstreamConfig::new(
            config.upstreams.clone(),
            config.upstream_timeout,
        ))?,
        keyring: Keyring::new(keys.kek.clone(), ledger.backend()),
        user_contexts: UserContexts::new(&config.user_contexts, config.upstream_timeout)?,
        session_tokens: SessionTokens::new(
            config.public_url(gateway),
            config.session_audience.clone(),
            config.session_max_ttl,
        ),
        state_key: keys.state_key.clone(),
        return_urls: config.return_urls.clone(),
        policy: Policy {
            base_url: config.public_url(gateway),
            redirect_path: config.redirect_path.clone(),
            state_ttl: config.state_ttl,
            refresh_skew: config.refresh_skew,
            upstream_timeout: config.upstream_timeout,
            default_return_url: config.default_return_url.clone(),
            expires_as: config.token_expires_at,
            upstreams: config.upstreams.clone(),
        },
        tasks: TaskTracker::new(),
        denials: Denials::default(),
        pending: Pending::new(config.pending_limits),
        waiters: Waiters::default(),
        provider_health: ProvidersHealth::default(),
        stopping,
    }))
}

async fn serve_surface(listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let stopped = async move { stopped(&mut stopping).await };
    crate::http::serve::serve(listener, router, HEADERS_WITHIN, stopped).await;
}

/// Says where everything is. The last line is for programs that wait for the vault.
#[expect(
    clippy::print_stdout,
    reason = "this is what the program has to say to whoever started it"
)]
fn announce(config: &Config, written: &[PathBuf], gateway: SocketAddr, broker: SocketAddr) {
    println!("Nexus {} is ready.", env!("CARGO_PKG_VERSION"));
    println!("  Gateway   http://{gateway}   for agents, applications and browsers (/v1)");
    println!("  Broker    http://{broker}   for operators and auditors (/audit)");
    match &config.database {
        DatabaseChoice::Sqlite { path } => println!("  Database  SQLite, {}", path.display()),
        DatabaseChoice::Postgres { .. } => println!("  Database  PostgreSQL"),
    }
    println!("  Keys      {}", config.data_dir.display());
    for path in written {
        println!("  Made      {}", path.display());
    }
    if !written.is_empty() {
        println!(
            "            Keep them safe: without the encryption key no secret ever opens again."
        );
    }
    for note in &config.notes {
        println!("  Note      {note}");
    }
    println!("nexus ready gateway=http://{gateway} broker=http://{broker}");
}
