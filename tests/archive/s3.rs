//! The archive in S3: the server of `moto`, which judges signatures and conditions as AWS does.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use switchboard::archive::S3Config;
use switchboard_contract::storage::PageDirection;

use crate::files::python;
use crate::stage::{DAY, NOW, Stage, append, close, conversation, past, recall, tenant, walk};

/// A running server; killed when dropped.
struct Moto {
    child: Child,
    endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = python();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archive/.venv/bin/moto_server");
        command.arg(program).args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let this = Self { child, endpoint: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        this.boto("s3.create_bucket(Bucket='kept')");
        this
    }

    /// Runs a line of Python with a client of AWS's own library.
    fn boto(&self, line: &str) -> String {
        let script = format!(
            "import boto3\ns3 = boto3.client('s3', endpoint_url='{}', region_name='us-east-1', \
             aws_access_key_id='id', aws_secret_access_key='secret')\n{line}",
            self.endpoint
        );
        let output = python().args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[tokio::test]
async fn the_archive_lives_in_s3() {
    let moto = Moto::start();
    let mut stage = Stage::new();
    stage.archive.location = Some("s3://kept/some/prefix".to_owned());
    stage.archive.s3 = S3Config {
        endpoint: Some(moto.endpoint.clone()),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("id".to_owned()),
        secret_access_key: Some("secret".into()),
        allow_http: true,
    };
    let switchboard = stage.open().await;
    let old = past(3, 80, NOW - 300 * DAY);
    append(&**switchboard.store(), old.clone()).await;
    let before = walk(&switchboard, &conversation(1), PageDirection::Older, 30).await;
    let archiver = switchboard.archiver().unwrap();
    assert_eq!(archiver.run(&tenant(), None).await.unwrap().messages, 240);
    assert_eq!(walk(&switchboard, &conversation(1), PageDirection::Older, 30).await, before);
    // A second file, a file written anew, a list replaced under its condition.
    let mut late = past(3, 20, NOW - 300 * DAY + Duration::from_millis(500));
    late.iter_mut().for_each(|draft| draft.key.id.push('l'));
    append(&**switchboard.store(), late).await;
    assert_eq!(archiver.run(&tenant(), None).await.unwrap().messages, 60);
    append(&**switchboard.store(), vec![recall(&old[5], NOW)]).await;
    let report = archiver.run(&tenant(), None).await.unwrap();
    assert_eq!((report.rewritten, report.files), (1, 1));
    assert_eq!(walk(&switchboard, &conversation(1), PageDirection::Older, 30).await.len(), 100);
    let verified = archiver.verify(&tenant()).await.unwrap();
    assert!(verified.good && verified.messages == 300, "{verified:?}");
    let listed = moto.boto("print([o['Key'] for o in s3.list_objects_v2(Bucket='kept')['Contents']])");
    assert!(listed.contains("some/prefix/default/manifest.json"), "{listed}");
    // Somebody else's list is not overwritten.
    moto.boto("s3.put_object(Bucket='kept', Key='some/prefix/default/manifest.json', Body=b'{}')");
    append(&**switchboard.store(), past(1, 1, NOW - 222 * DAY)).await;
    assert!(archiver.run(&tenant(), None).await.is_err());
    close(switchboard).await;
    drop(moto);
}
