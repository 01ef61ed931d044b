//! `switchboard serve` as a child process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;

/// The token every test configuration has.
pub const TOKEN: &str = "a-token-for-tests-only";

/// A running sidecar; killed when dropped.
#[derive(Debug)]
pub struct Sidecar {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    pub url: String,
    pub http: reqwest::Client,
}

impl Sidecar {
    /// The command that would start it, for changes to its environment.
    pub fn command(directory: &Path, config: &str) -> Command {
        let file: PathBuf = directory.join("switchboard.toml");
        let common = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[[tokens]]\nname = \"test\"\nsecret = \"{TOKEN}\"\n\
             scopes = [\"messages\", \"subscribe\", \"history\", \"admin\"]\n[log]\nlevel = \"info\"\n{config}"
        );
        std::fs::write(&file, common).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command.arg("serve").arg("--config").arg(&file).current_dir(directory);
        command
    }

    /// Starts it in `directory` and waits until it listens.
    pub fn start(directory: &Path, config: &str) -> Self {
        Self::spawn(Self::command(directory, config))
    }

    /// Starts a prepared command and waits until it listens.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        let kept = Arc::new(Mutex::new(String::new()));
        let keeping = Arc::clone(&kept);
        // The log must be read to its end, or the child would block on a full pipe.
        let reader = std::thread::spawn(move || {
            let show = std::env::var_os("SWITCHBOARD_TEST_LOG").is_some();
            let mut seen = Vec::new();
            for line in log.lines().map_while(Result::ok) {
                {
                    let mut kept = keeping.lock().unwrap();
                    kept.push_str(&line);
                    kept.push('\n');
                }
                if show {
                    eprintln!("sidecar: {line}");
                }
                if let Some((_, address)) = line.split_once("listening address=") {
                    let _ = found.send(Ok(address.trim().to_owned()));
                }
                if seen.len() < 50 {
                    seen.push(line);
                }
            }
            let _ = found.send(Err(seen.join("\n")));
        });
        let address = match address.recv_timeout(Duration::from_secs(30)) {
            Ok(Ok(address)) => address,
            Ok(Err(log)) => panic!("the sidecar did not start:\n{log}"),
            Err(_) => panic!("the sidecar did not listen within 30 s"),
        };
        Self { child, log: kept, reader: Some(reader), url: format!("http://{address}"), http: reqwest::Client::new() }
    }

    /// Everything it has written to its log.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        // The log is whole once its pipe has ended.
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// An API call with the token.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    /// A GET that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let response = self.request(reqwest::Method::GET, path).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "GET {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A call with a JSON body that must succeed; the answer, `null` when it has no body.
    pub async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let response = self.request(method.clone(), path).json(body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// The sum of a metric over its labels; 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.http.get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap();
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
