//! `switchboard serve` as a child process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

/// The token every test configuration has.
pub const TOKEN: &str = "a-token-for-tests-only";

/// What a sidecar wrote to its log, so far.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Whether a line holds all of these words.
    pub fn tells(&self, words: &[&str]) -> bool {
        self.count(words) > 0
    }

    /// How many lines hold all of these words.
    pub fn count(&self, words: &[&str]) -> usize {
        self.0.lock().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.0.lock().join("\n")
    }
}

/// A running sidecar; killed when dropped.
#[derive(Debug)]
pub struct Sidecar {
    child: Reaped,
    pub url: String,
    pub http: reqwest::Client,
    pub log: Log,
    lines: Mutex<mpsc::Receiver<String>>,
}

/// A child that never outlives the test, however the test ends.
#[derive(Debug)]
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Reaped {
    fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
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
    pub fn spawn(command: Command) -> Self {
        Self::try_spawn(command).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// As [`spawn`](Self::spawn); what the sidecar said when it did not come so far.
    pub fn try_spawn(command: Command) -> Result<Self, String> {
        let (child, log, lines) = launch(command);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some((_, address)) = line.split_once("listening address=") {
                        let url = format!("http://{}", address.trim());
                        let lines = Mutex::new(lines);
                        return Ok(Self { child, url, http: reqwest::Client::new(), log, lines });
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(format!("the sidecar did not start:\n{}", log.text()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("no listener within 30 s:\n{}", log.text()));
                }
            }
        }
    }

    /// Runs a prepared command that must end by itself; its status and all it said.
    pub fn refuse(command: Command) -> (ExitStatus, String) {
        let (mut child, log, lines) = launch(command);
        let status = child.wait(Duration::from_secs(30));
        let status = status.unwrap_or_else(|| panic!("the sidecar runs, and should have refused:\n{}", log.text()));
        // The rest of the log: the channel ends with the pipe.
        lines.iter().for_each(drop);
        (status, log.text())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Sends SIGTERM and returns at once.
    pub fn ask_to_stop(&self) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Sends SIGHUP and returns at once.
    pub fn hang_up(&self) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// Waits for its end; the log is whole then.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let Some(status) = self.child.wait(within) else {
            panic!("the sidecar did not end within {within:?}:\n{}", self.log.text());
        };
        self.lines.lock().iter().for_each(drop);
        status
    }

    /// SIGTERM; the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.ended(Duration::from_secs(30))
    }

    /// Memory of the process that is in RAM and its own, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
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

    /// What `/readyz` answers: the status and the body.
    pub async fn ready(&self) -> (u16, Value) {
        let answer = self.http.get(format!("{}/readyz", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
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

/// Starts a command and reads its log to the end, or the child would block on a full pipe.
fn launch(mut command: Command) -> (Reaped, Log, mpsc::Receiver<String>) {
    let mut child = Reaped(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let pipe = BufReader::new(child.0.stderr.take().unwrap());
    let (log, (lines, read)) = (Log::default(), mpsc::channel());
    let kept = log.clone();
    std::thread::spawn(move || {
        let show = std::env::var_os("SWITCHBOARD_TEST_LOG").is_some();
        for line in pipe.lines().map_while(Result::ok) {
            if show {
                eprintln!("sidecar: {line}");
            }
            kept.0.lock().push(line.clone());
            let _ = lines.send(line);
        }
    });
    (child, log, read)
}
