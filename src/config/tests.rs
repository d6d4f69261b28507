use super::value::MIB;
use super::*;

const KEY: &str = "0123456789abcdef";

/// Loads with variables and files, both as name and text.
fn load_with(args: &[&str], env: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Loaded> {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), v.into()));
    load_from(args.iter().map(OsString::from), &env.collect(), |path| {
        let file = files.iter().find(|(name, _)| *name == path);
        let text = file.map(|(_, text)| (*text).to_owned());
        text.ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

/// With a file of settings, `f`.
fn with_file(text: &str) -> Result<Loaded> {
    load_with(&["check", "--config", "f"], &[], &[("f", text)])
}

fn refused(loaded: Result<Loaded>) -> String {
    loaded.expect_err("refused").detail().to_owned()
}

fn settings() -> Vec<Arg> {
    Config::settings().get_arguments().cloned().collect()
}

/// The default as it stands in the file: without a setting there is none.
fn default_of(setting: &Arg) -> Option<String> {
    let default = setting.get_default_values().first()?;
    let default = default.to_str().expect("text").to_owned();
    Some(default).filter(|default| !default.is_empty())
}

/// What a number must be, in the words of the refusal.
fn bounds(setting: &Arg) -> Option<String> {
    let name = setting.get_id().as_str();
    let given = Given {
        name: name.into(),
        value: "nonsense".into(),
        origin: Origin::Default,
    };
    let problem = judge(&Config::settings(), &given).err()?;
    let (_, expected) = problem.split_once(" is not a whole number")?;
    let bounds = expected.trim().trim_start_matches("of ").to_owned();
    Some(bounds).filter(|bounds| !bounds.is_empty())
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "max_sessions = 3\nlisten = \"127.0.0.1:1\"\nlegacy = \"off\"\nallow_private = [\"10.0.0.0/8\", \"::1/128\"]";
    let args = ["check", "--config", "f", "--listen", "127.0.0.1:4"];
    let env = [
        ("WARUNG_LISTEN", "127.0.0.1:3"),
        ("PORT", "2"),
        ("MAX_SESSIONS", "5"),
    ];
    let loaded = load_with(&args, &env, &[("f", file)]).expect("good settings");
    assert_eq!(loaded.command, Command::Check);
    assert_eq!(loaded.config.listen, "127.0.0.1:4");
    assert_eq!(loaded.config.max_sessions, 5);
    assert_eq!(loaded.config.legacy, Legacy::Off);
    assert_eq!(loaded.config.allow_private, ["10.0.0.0/8", "::1/128"]);
    let came = |name: &str| loaded.origins[name].to_string();
    assert_eq!(came("listen"), "--listen");
    assert_eq!(came("max_sessions"), "MAX_SESSIONS");
    assert_eq!(came("legacy"), "f:3");
    assert!(!loaded.origins.contains_key("data"));
    let both = [("MAX_SESSIONS", "5"), ("WARUNG_MAX_SESSIONS", "6")];
    let loaded = load_with(&["check"], &both, &[]).expect("good settings");
    assert_eq!(loaded.config.max_sessions, 6, "our own name wins");
}

#[test]
fn a_flag_stands_before_or_behind_the_command_and_is_written_either_way() {
    for args in [
        &["check", "--max-sessions", "7"][..],
        &["--max-sessions", "7", "check"],
        &["--max-sessions=7", "check"],
        &["check", "--max_sessions", "7"],
        &["--max-sessions", "6", "check", "--max-sessions", "7"],
        &["config", "check", "--max-sessions", "7"],
        &["--max-sessions", "7", "config", "check"],
        &["healthcheck", "--max-sessions", "6", "--max-sessions", "7"],
    ] {
        let loaded = load_with(args, &[], &[]).expect("good settings");
        assert_eq!(loaded.config.max_sessions, 7, "{args:?}");
    }
    let network = ["--whatsapp-url", "ws://127.0.0.1:1/ws/chat"];
    for command in [&[][..], &["serve"]] {
        for args in [[&network, command].concat(), [command, &network].concat()] {
            let loaded = load_with(&args, &[], &[]);
            if cfg!(feature = "sandbox") {
                assert_eq!(loaded.expect("good").command, Command::Serve, "{args:?}");
            } else {
                let said = refused(loaded);
                assert!(
                    said.contains("setting whatsapp_url (--whatsapp-url)"),
                    "{said}"
                );
            }
        }
    }
    let dashes = ["check", "--master-key", "--0123456789abcdef"];
    let loaded = load_with(&dashes, &[], &[]).expect("a key may begin so");
    assert_eq!(
        loaded.config.master_key.as_deref(),
        Some("--0123456789abcdef")
    );
}

#[test]
fn the_original_programs_port_is_honoured_where_the_original_listened() {
    let listen = |env: &[(&str, &str)]| {
        let loaded = load_with(&["check"], env, &[]).expect("good settings");
        (
            loaded.config.listen.clone(),
            loaded.origins["listen"].to_string(),
        )
    };
    let port = ("PORT", "8080");
    assert_eq!(listen(&[port]), ("0.0.0.0:8080".into(), "PORT".into()));
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1:8080"),
        ("localhost", "localhost:8080"),
        ("::1", "[::1]:8080"),
        ("[::]", "[::]:8080"),
    ] {
        let both = (address.to_owned(), "HOST and PORT".to_owned());
        assert_eq!(listen(&[port, ("HOST", host)]), both);
    }
    let own = [port, ("WARUNG_LISTEN", "127.0.0.1:1")];
    assert_eq!(listen(&own).0, "127.0.0.1:1", "our own name wins");
    for (host, address) in [
        ("0.0.0.0", "0.0.0.0:3000"),
        ("localhost", "localhost:3000"),
        ("::", "[::]:3000"),
    ] {
        let alone = (address.to_owned(), "HOST".to_owned());
        assert_eq!(listen(&[("HOST", host)]), alone);
    }
    let own = [("HOST", "0.0.0.0"), ("WARUNG_LISTEN", "127.0.0.1:1")];
    assert_eq!(listen(&own).0, "127.0.0.1:1", "our own name wins");
    // Shells set it to the machine's name for themselves.
    let host = load_with(&["check"], &[("HOST", "pi")], &[]).expect("good");
    assert_eq!(host.config.listen, Config::default().listen);
    let named = &host.unneeded_variables;
    assert!(
        named.iter().any(|name| name.starts_with("HOST ")),
        "{named:?}"
    );
    for port in ["abc", "99999", "-1", "80 "] {
        let said = refused(load_with(&["check"], &[("PORT", port)], &[]));
        assert!(said.contains("PORT") && said.contains(port), "{said}");
    }
}

#[test]
fn what_the_originals_users_have_set_works_or_is_named() {
    let env = [
        ("MASTER_API_KEY", "secret12"),
        ("DEFAULT_COUNTRY_CODE", "+62"),
        ("NODE_ENV", "production"),
        ("SESSION_SECRET", "hush77"),
        ("TOKEN_ENCRYPTION_KEY", ""),
    ];
    let loaded = load_with(&["check"], &env, &[]).expect("good settings");
    assert_eq!(loaded.config.master_key.as_deref(), Some("secret12"));
    assert_eq!(loaded.config.default_country_code.as_deref(), Some("62"));
    assert_eq!(loaded.unneeded_variables, ["SESSION_SECRET", "NODE_ENV"]);
    assert!(loaded.unknown_variables.is_empty());
    let said = refused(load_with(&["check"], &[("MASTER_API_KEY", "secret1")], &[]));
    assert!(
        said.contains("(MASTER_API_KEY)") && said.contains("at least 8"),
        "{said}"
    );
    let said = refused(load_with(&["check"], &[("DEFAULT_COUNTRY_CODE", "+")], &[]));
    assert!(said.contains("(DEFAULT_COUNTRY_CODE)"), "{said}");
}

#[test]
fn a_server_that_is_not_this_machine_is_refused() {
    for url in [
        "wss://web.whatsapp.com/ws/chat",
        "ws://10.0.0.1:1/ws",
        "ws://example.com:80/",
        "ws://127.0.0.1",
        "http://127.0.0.1:1/",
    ] {
        let args = ["serve", "--whatsapp-url", url];
        assert!(load_with(&args, &[], &[]).is_err(), "{url}");
    }
}

#[test]
fn mistakes_are_named() {
    for (args, word) in [
        (&["fly"][..], "fly"),
        (&["chek"], "did you mean check?"),
        (&["check", "--nonsense", "1"], "nonsense"),
        (&["check", "--versoin"], "--version"),
        (&["check", "--legacy", "maybe"], "legacy"),
        (&["check", "--legacy", "maybe"], "auto, open, token, off"),
        (&["check", "--max-sessions", "many"], "max_sessions"),
        (&["check", "--log", "loud"], "log (--log)"),
        (
            &["--port", "4201"],
            "there is no --port: --listen ADDR:PORT",
        ),
        (&["-v"], "`warung version`"),
        (&["check", "x"], "x is one argument too many"),
        (&["serv"], "did you mean serve?"),
        (&["send", "6281200000001"], "TEXT"),
        (
            &["send", "shop", "6281200000001", "Hello", "you"],
            "one argument too many",
        ),
        (&["check", "--guard", "on"], "60,1000"),
        (&["check", "--listen"], "--listen"),
        (&["pair"], "SESSION"),
        (&["backup"], "FILE"),
        (&["config"], "show"),
        (&["check", "--master-key", "short"], "master_key"),
        (&["check", "--show-online", "perhaps"], "true, false"),
    ] {
        let said = refused(load_with(args, &[], &[]));
        assert!(said.contains(word), "{args:?}: {said}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_all_of_it_at_once() {
    let file = "# the shop's\nack_timeout = 0\n\nmax_sesions = 4\nlisten = { port = 1 }";
    let env = [
        ("WARUNG_CONFIG", "shop.toml"),
        ("WARUNG_STORE_CACHE", "5"),
        ("WARUNG_DNS_SERVERS", "192.0.2.1, dns"),
    ];
    let args = ["check", "--retention-days=9999"];
    let said = refused(load_with(&args, &env, &[("shop.toml", file)]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "setting listen (shop.toml:5): a plain value or a list of them is expected",
            "setting ack_timeout (shop.toml:2): \"0\" is not a whole number from 1 to 300",
            "setting max_sesions (shop.toml:4): there is none of this name; did you mean max_sessions?",
            "setting dns_servers (WARUNG_DNS_SERVERS): \"192.0.2.1, dns\" is not a list of IP addresses",
            "setting store_cache (WARUNG_STORE_CACHE): \"5\" is not a whole number of at least 1048576",
            "setting retention_days (--retention-days): \"9999\" is not a whole number from 4 to 3650",
        ]
    );
    let said = refused(with_file("listen = \"127.0.0.1:1\"\nlog = info\n"));
    assert!(said.starts_with("f:2: not valid TOML: "), "{said}");
    let said = refused(load_with(&["check", "--config", "none"], &[], &[]));
    assert!(said.contains("none cannot be read"), "{said}");
}

#[test]
fn numbers_are_taken_up_to_their_bounds() {
    let args = |name: &str, value: u64| ["check".into(), format!("--{name}={value}")];
    for (name, lowest, highest) in [
        ("store-cache", MIB, None),
        ("ack-timeout", 1, Some(300)),
        ("max-sessions", 1, None),
        ("max-connections", 4, None),
        ("max-connections-per-address", 1, None),
        ("retention-days", 4, Some(3650)),
        ("media-days", 1, Some(3650)),
        ("media-quota", MIB, None),
        ("body-budget", MIB, None),
        ("max-media-bytes", MIB, None),
    ] {
        let good = |value| {
            let args = args(name, value);
            load_with(&[&args[0], &args[1]], &[], &[]).is_ok()
        };
        assert!(good(lowest) && !good(lowest - 1), "{name}");
        if let Some(highest) = highest {
            assert!(good(highest) && !good(highest + 1), "{name}");
        }
    }
    let loaded = with_file("store_quota = 0\nack_timeout = 300").expect("good");
    assert_eq!(loaded.config.store_quota, 0);
    assert_eq!(loaded.config.ack_timeout.as_secs(), 300);
}

#[test]
fn no_refusal_repeats_a_secret() {
    const SHORT: &str = "hush77";
    let quoted = format!("{SHORT:?}");
    let mut said = vec![
        refused(load_with(&["check", "--master-key", SHORT], &[], &[])),
        refused(load_with(&["check"], &[("WARUNG_MASTER_KEY", SHORT)], &[])),
        refused(load_with(&["check"], &[("MASTER_API_KEY", SHORT)], &[])),
        refused(load_with(
            &["check", &format!("--master-kye={SHORT}")],
            &[],
            &[],
        )),
        refused(load_with(
            &["check"],
            &[("WARUNG_MASTER_KEY_FILE", "k")],
            &[("k", SHORT)],
        )),
    ];
    for line in [
        format!("master_key = {quoted}"),
        format!("master_key = {SHORT}"),
        format!("master_key = {quoted} {quoted}"),
        format!("master_key {quoted}"),
        format!("master_key = \"{SHORT}"),
        format!("master_key = '''{SHORT}"),
        format!("master_key = \"{SHORT}\\q\""),
        format!("master_key = {{ is = {quoted} }}"),
        format!("master_key = {quoted}\nmaster_key = {quoted}"),
        format!("master_kye = {quoted}"),
    ] {
        said.push(refused(with_file(&line)));
    }
    for said in said {
        assert!(!said.contains(SHORT), "{said}");
    }
    let loaded = load_with(&["check", "--master-key", KEY], &[], &[]).expect("good");
    assert!(!format!("{loaded:?}").contains(KEY));
    let json = serde_json::to_string(&loaded.config).expect("JSON");
    assert!(!json.contains(KEY));
}

#[test]
fn secrets_are_read_from_files_that_variables_name() {
    let files = [
        ("/run/key", "0123456789abcdef\n"),
        ("/run/hook", "a secret\r\n"),
        ("/run/empty", "\n"),
    ];
    let load = |env: &[(&str, &str)]| load_with(&["check"], env, &files);
    let env = [
        ("WARUNG_MASTER_KEY_FILE", "/run/key"),
        ("WARUNG_WEBHOOK_SECRET_FILE", "/run/hook"),
    ];
    let config = load(&env).expect("good").config;
    assert_eq!(config.master_key.as_deref(), Some(KEY));
    assert_eq!(config.webhook_secret.as_deref(), Some("a secret"));
    for (env, words) in [
        (
            &[env[0], ("WARUNG_MASTER_KEY", KEY)][..],
            &["WARUNG_MASTER_KEY_FILE", "both"][..],
        ),
        (
            &[("WARUNG_MASTER_KEY_FILE", "/run/none")],
            &["WARUNG_MASTER_KEY_FILE", "/run/none"],
        ),
        (
            &[("WARUNG_MASTER_KEY_FILE", "/run/empty")],
            &["WARUNG_MASTER_KEY_FILE", "/run/empty", "empty"],
        ),
        (
            &[("WARUNG_MASTER_KEY_FILE", "/run/hook")],
            &["WARUNG_MASTER_KEY_FILE", "at least 8"],
        ),
    ] {
        let said = refused(load(env));
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    // Only secrets are read so: a file in place of another value is a mistake to be told of.
    let loaded = load(&[("WARUNG_LISTEN_FILE", "/run/key")]).expect("good");
    assert_eq!(loaded.unknown_variables, ["WARUNG_LISTEN_FILE"]);
}

#[test]
fn who_sets_a_secret_has_one() {
    for variable in [
        "WARUNG_MASTER_KEY",
        "WARUNG_MASTER_KEY_FILE",
        "MASTER_API_KEY",
        "WARUNG_WEBHOOK_SECRET",
        "WARUNG_WEBHOOK_SECRET_FILE",
    ] {
        let said = refused(load_with(&["check"], &[(variable, "")], &[]));
        assert!(
            said.contains(&format!("{variable} is empty")),
            "{variable}: {said}"
        );
        assert!(load_with(&["version"], &[(variable, "")], &[]).is_ok());
    }
    let others = [("WARUNG_LISTEN", ""), ("WARUNG_STRANGE", "")];
    let loaded = load_with(&["check"], &others, &[]).expect("as if they were not set");
    assert!(loaded.unknown_variables.is_empty());
    for secret in ["", "seven77", &"x".repeat(257)] {
        let said = refused(with_file(&format!("webhook_secret = {secret:?}")));
        assert!(said.contains("8 to 256"), "{said}");
    }
    assert!(with_file("webhook_secret = \"eight888\"").is_ok());
}

#[test]
fn a_list_is_the_value_of_a_list_only() {
    for name in [
        "webhook_secret",
        "master_key",
        "device_name",
        "max_sessions",
    ] {
        let said = refused(with_file(&format!("{name} = [\"first part\", \"second\"]")));
        assert!(said.contains(name) && said.contains("not a list"), "{said}");
        assert!(!said.contains("first part"), "{said}");
    }
    let lists = "allow_private = [\"10.0.0.0/8\"]\nallow_ports = [3001]\n\
                 trusted_proxies = []\ndns_servers = [\"192.0.2.1\"]";
    assert!(with_file(lists).is_ok());
}

#[test]
fn what_others_are_shown_has_no_control_characters() {
    for line in [
        "device_name = \"Toko\\nAni\"",
        "source_url = \"https://example.org/\\u001b[31m\"",
        "source_url = \"https://example.org/a\\tb\"",
    ] {
        assert!(with_file(line).is_err(), "{line}");
    }
}

#[test]
fn what_may_be_secret_in_a_url_is_not_shown() {
    let hidden = |url: &str| {
        let loaded = with_file(&format!("webhook_url = {url:?}")).expect("good");
        let shown = loaded.show().expect("shown");
        with_file(&shown).expect("it can be read");
        let line = shown.lines().find(|line| line.contains("webhook_url"));
        line.expect("a line").to_owned()
    };
    for url in [
        "https://example.org/hook?token=hush77",
        "https://example.org/hook#hush77",
        "https://hush77@example.org/hook",
        "https://ani:hush77@example.org/hook",
    ] {
        let shown = hidden(url);
        assert!(!shown.contains("hush77"), "{shown}");
        assert!(
            shown.starts_with("# ") && shown.contains("https://example.org/hook?..."),
            "{shown}"
        );
    }
    let shown = hidden("https://example.org/hook");
    assert!(
        shown.starts_with("webhook_url = \"https://example.org/hook\""),
        "{shown}"
    );
    let said = refused(with_file("webhook_url = \"htps://example.org/?hush77\""));
    assert!(!said.contains("hush77"), "{said}");
}

#[test]
fn variables_of_a_kubernetes_service_are_no_settings() {
    let env = [
        ("WARUNG_PORT", "tcp://10.0.0.1:3000"),
        ("WARUNG_PORT_3000_TCP_ADDR", "10.0.0.1"),
        ("WARUNG_SERVICE_HOST", "10.0.0.1"),
        ("WARUNG_DATA", "/data"),
        ("WARUNG_CONFIG", "f"),
        ("WARUNG_MASTER_KEY_FILE", "k"),
    ];
    let files = [("f", ""), ("k", KEY)];
    let loaded = load_with(&["check"], &env, &files).expect("good settings");
    assert_eq!(loaded.config.listen, Config::default().listen);
    assert_eq!(
        loaded.unknown_variables,
        [
            "WARUNG_PORT",
            "WARUNG_PORT_3000_TCP_ADDR",
            "WARUNG_SERVICE_HOST"
        ]
    );
}

#[test]
fn a_variable_that_is_no_text_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt;
    let env = BTreeMap::from([("WARUNG_DATA".to_owned(), OsString::from_vec(vec![0xff]))]);
    let none = |_: &str| Err(io::ErrorKind::NotFound.into());
    let said = refused(load_from(["check".into()], &env, none));
    assert!(said.contains("WARUNG_DATA"), "{said}");
}

#[test]
fn what_is_shown_can_be_read_again_and_tells_where_it_comes_from() {
    let file =
        "device_name = \"Toko \\\"Ani\\\" # 1\"\nallow_ports = [3001, 3002]\nack_timeout = 30";
    let args = ["check", "--config", "f", "--show-online", "true"];
    let env = [
        ("WARUNG_MASTER_KEY", KEY),
        ("WARUNG_WHATSAPP_VERSION", "2.3000.7"),
        ("WARUNG_ALLOW_PRIVATE", "10.0.0.0/8, ::1"),
    ];
    let mut loaded = load_with(&args, &env, &[("f", file)]).expect("good settings");
    let shown = loaded.show().expect("shown");
    assert!(!shown.contains(KEY), "{shown}");
    for line in [
        "max_sessions = 1000  # default",
        "allow_ports = [3001, 3002]  # f:2",
        "ack_timeout = 30  # f:3",
        "show_online = true  # --show-online",
        "# master_key is hidden  # WARUNG_MASTER_KEY",
        "whatsapp_version = \"2.3000.7\"  # WARUNG_WHATSAPP_VERSION",
        "# webhook_url is not set",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let again = with_file(&shown).expect("it can be read");
    loaded.config.master_key = None;
    assert_eq!(again.config, loaded.config);
}

#[test]
fn help_shows_each_setting_once_with_its_variable_and_default() {
    let help = |args: &[&str]| match load_with(args, &[], &[]).expect("help").command {
        Command::Print(text) => text,
        other => panic!("{other:?}"),
    };
    let serve = help(&["serve", "--help"]);
    let words: Vec<&str> = serve.split_whitespace().collect();
    let text = words.join(" ");
    // A release does not show what only sandbox builds have.
    for setting in settings().iter().filter(|setting| !setting.is_hide_set()) {
        let name = setting.get_id().as_str();
        let flag = format!("--{} <", name.replace('_', "-"));
        assert_eq!(text.matches(&flag).count(), 1, "{flag}: {serve}");
        assert!(text.contains(&format!("[env: {}]", command::variable(name))));
        if let Some(default) = default_of(setting) {
            assert!(text.contains(&format!("[default: {default}]")), "{name}");
        }
        if let Some(bounds) = bounds(setting) {
            let line = setting.get_help().expect("help").to_string();
            assert!(line.contains(&bounds), "{name}: {bounds}: {line}");
        }
    }
    // Whoever asks for the commands sees these, not the settings.
    for args in [&["--help"][..], &["-h"], &["help"]] {
        let root = help(args);
        assert!(root.contains("healthcheck") && root.contains("--data"));
        assert!(root.lines().count() < 40 && !root.contains("--media-quota"));
    }
    assert!(help(&["--version"]).starts_with("warung 0."));
    assert!(help(&["-V"]).lines().count() == 1);
}

#[test]
fn readme_lists_each_setting_once_with_its_default_and_bounds() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("\n## Settings\n").expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    for setting in settings() {
        let name = setting.get_id().as_str();
        let quoted = format!("`{name}`");
        let mut named = rows.iter().filter(|row| row[0] == quoted);
        let row = named.next().unwrap_or_else(|| panic!("{name} is missing"));
        assert!(named.next().is_none(), "{name} stands there twice");
        if let Some(default) = default_of(&setting) {
            assert_eq!(row[1].trim_matches('`'), default, "{name}");
        }
        if let Some(bounds) = bounds(&setting) {
            assert!(row[2].contains(&bounds), "{name}: {bounds}: {}", row[2]);
        }
    }
    assert_eq!(rows.len(), settings().len(), "there is a row of no setting");
}

#[test]
fn the_packaged_file_shows_the_defaults() {
    let packaged = include_str!("../../packaging/debian/warung.toml");
    let loaded = with_file(packaged).expect("the file as it is");
    assert_eq!(loaded.config.data.to_str(), Some("/var/lib/warung"));
    let uncommented: Vec<&str> = packaged
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest
                    .split_once(" = ")
                    .is_some_and(|(name, _)| !name.contains(' ')) =>
            {
                rest
            }
            _ => line,
        })
        .collect();
    let all = with_file(&uncommented.join("\n")).expect("what is commented out");
    let shown = all.show().expect("shown");
    let defaults = with_file("").expect("good").show().expect("shown");
    for setting in settings() {
        let name = setting.get_id().as_str();
        let line = |text: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} = ")));
            line.and_then(|line| Some(line.split_once("  # ")?.0.to_owned()))
        };
        if name != "data" && default_of(&setting).is_some() {
            assert_eq!(line(&shown), line(&defaults), "{name}");
        }
        // Secrets do not belong there, and few need these.
        let elsewhere = [
            "master_key",
            "webhook_secret",
            "whatsapp_version",
            "whatsapp_url",
        ];
        let there = packaged.contains(&format!("\n# {name} = "));
        assert!(
            there || name == "data" || elsewhere.contains(&name),
            "{name}"
        );
    }
}
