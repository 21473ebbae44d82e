// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scripts of `contrib/slurm` on a Slurm cluster that consists of this machine.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use sudbox_tests::{
    assert_same_but_times, ensure_installed, print_uncaptured, root, run, sudbox, unbuildable_tree,
};

/// Time limit for the daemons to start and for a job to end.
const LIMIT: Duration = Duration::from_secs(600);

/// A Slurm cluster that consists of this machine.
struct Cluster {
    home: tempfile::TempDir,
    /// Daemons in the order in which they were started; stopped in reverse order.
    daemons: Vec<Child>,
}

impl Cluster {
    /// Starts the daemons. Prints `NOT RUN` and returns `None` if Slurm cannot be installed.
    fn start() -> Option<Cluster> {
        let packages = ["slurmctld", "slurmd", "slurm-client", "munge"];
        if !ensure_installed(&["slurmctld", "slurmd", "sbatch", "munged"], &packages) {
            print_uncaptured(&format!("NOT RUN: Slurm: {} are not installed", packages.join(" ")));
            return None;
        }
        let mut cluster =
            Cluster { home: tempfile::tempdir().expect("a directory"), daemons: Vec::new() };
        let home = cluster.home.path().to_owned();
        let path = |name: &str| home.join(name).display().to_string();
        for name in ["state", "spool"] {
            fs::create_dir(home.join(name)).unwrap();
        }
        let key: Vec<u8> =
            std::iter::repeat_n(std::process::id().to_le_bytes(), 32).flatten().collect();
        fs::write(home.join("key"), key).unwrap();
        let mut mode = fs::metadata(home.join("key")).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o400);
        fs::set_permissions(home.join("key"), mode).unwrap();
        let socket = path("munge.socket");
        cluster.start_daemon(
            "munged",
            &[
                "--force".into(),
                "--foreground".into(),
                format!("--key-file={}", path("key")),
                format!("--socket={socket}"),
                format!("--pid-file={}", path("munged.pid")),
                format!("--seed-file={}", path("munged.seed")),
                format!("--log-file={}", path("munged.log")),
            ],
        );
        cluster.wait("munged", || Path::new(&socket).exists());

        let user = text(Command::new("id").arg("-un")).trim().to_owned();
        let [controller, node] = [(); 2]
            .map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let config = format!(
            "ClusterName=sudbox\nSlurmctldHost=localhost\nSlurmUser={user}\nSlurmdUser={user}\n\
             AuthType=auth/munge\nAuthInfo=socket={socket}\nCredType=cred/munge\n\
             SlurmctldPort={controller}\nSlurmdPort={node}\n\
             StateSaveLocation={}\nSlurmdSpoolDir={}\n\
             SlurmctldPidFile={}\nSlurmdPidFile={}\n\
             SlurmctldLogFile={}\nSlurmdLogFile={}\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/none\nMpiDefault=none\nReturnToService=2\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
             NodeName=localhost CPUs={} State=UNKNOWN\n\
             PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n",
            path("state"),
            path("spool"),
            path("slurmctld.pid"),
            path("slurmd.pid"),
            path("slurmctld.log"),
            path("slurmd.log"),
            processors(),
        );
        fs::write(home.join("slurm.conf"), config).unwrap();
        cluster.start_daemon("slurmctld", &["-D".into(), "-f".into(), path("slurm.conf")]);
        let localhost = ["-D", "-N", "localhost", "-f"].map(str::to_owned);
        cluster.start_daemon("slurmd", &[&localhost[..], &[path("slurm.conf")]].concat());
        cluster.wait("the node", || {
            text(&mut cluster.command("sinfo", &["-h", "-o", "%t"])).trim() == "idle"
        });
        Some(cluster)
    }

    fn start_daemon(&mut self, program: &str, arguments: &[String]) {
        let log = fs::File::create(self.home.path().join(format!("{program}.out"))).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.daemons.push(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")));
    }

    /// Waits until `is_ready` is true.
    ///
    /// # Panics
    /// With the logs of the daemons, after [`LIMIT`].
    fn wait(&self, what: &str, is_ready: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_ready() {
            if Instant::now() > deadline {
                let logs = fs::read_dir(self.home.path()).unwrap().flatten().map(|e| e.path());
                let logs = logs.filter(|path| path.is_file() && !path.ends_with("key"));
                let logs: Vec<String> =
                    logs.filter_map(|path| fs::read_to_string(path).ok()).collect();
                panic!("{what} is not ready:\n{}", logs.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.home.path().join("slurm.conf")).args(arguments);
        command.env("SUDBOX", sudbox().get_program());
        command
    }

    /// Submits a script of `contrib/slurm` and returns the job's number.
    fn submit(&self, options: &[&str], script: &str, arguments: &[&str]) -> String {
        let script = root().join("contrib/slurm").join(script);
        let processors = format!("--cpus-per-task={}", processors());
        let output = format!("--output={}/%j.out", self.home.path().display());
        let common = ["--parsable", "--mem=0", &processors, &output];
        let mut command = self.command("sbatch", &common);
        command.args(options).arg(script).args(arguments);
        text(&mut command).trim().to_owned()
    }

    /// Waits until all jobs have ended.
    fn wait_for_jobs(&self) {
        self.wait("a job", || text(&mut self.command("squeue", &["-h"])).trim().is_empty());
    }

    /// The exit code and signal of an ended job, such as `125:0`.
    fn exit_code(&self, job: &str) -> String {
        let fields = text(&mut self.command("scontrol", &["show", "job", job]));
        let code = fields.split_whitespace().find_map(|word| word.strip_prefix("ExitCode="));
        code.unwrap_or_else(|| panic!("no exit code: {fields}")).to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        while let Some(mut daemon) = self.daemons.pop() {
            let pid = i32::try_from(daemon.id()).expect("a process id");
            // SAFETY: kill touches no memory; the child has not been waited for.
            unsafe { libc::kill(pid, libc::SIGTERM) };
            let _ = daemon.wait();
        }
    }
}

/// Number of CPUs that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a Slurm command and returns its stdout.
fn text(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    // A controller that has just been started does not accept connections yet.
    let refused = error.contains("Unable to contact slurm controller");
    assert!(output.status.success() || refused, "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_array_of_shards_is_merged_after_a_lost_shard_was_repeated() {
    let Some(cluster) = Cluster::start() else { return };
    let image = {
        let mut command = sudbox();
        command.args(["run", "--cases", "boot"]);
        let _ = run(command).expect_code(0);
        let cache = sudbox_images::Cache::open().unwrap();
        let request = sudbox_images::Request::default();
        let mut monitor = sudbox_tests::StderrMonitor;
        sudbox_images::kernel(&mut sudbox_images::Ctx::new(&cache, &mut monitor), &request).unwrap()
    };
    let image_path = image.kernel.display().to_string();
    let tree = tempfile::tempdir().unwrap();
    let kernels = format!("6.12 {image_path} {}", unbuildable_tree(tree.path()));
    let matrix = ["--kernels", &kernels, "--cases", "arguments selector"];

    let folder: PathBuf = cluster.home.path().join("out");
    let folder_argument = folder.to_str().expect("text").to_owned();
    let shards: Vec<&str> = [&[folder_argument.as_str(), "3"][..], &matrix].concat();
    let job = cluster.submit(&["--array=1-3", "--hold"], "shard.sbatch", &shards);
    let dependency = format!("--dependency=afterany:{job}");
    let merge = cluster.submit(&[&dependency], "merge.sbatch", &[&folder_argument]);
    // Shard 2 is lost.
    let _ = text(&mut cluster.command("scancel", &[&format!("{job}_2")]));
    let _ = text(&mut cluster.command("scontrol", &["release", &job]));
    cluster.wait_for_jobs();
    assert_eq!(cluster.exit_code(&format!("{job}_1")), "0:0");
    assert_eq!(cluster.exit_code(&format!("{job}_3")), "125:0");
    assert_eq!(cluster.exit_code(&merge), "128:0");
    let log = fs::read_to_string(folder.join("merge.log")).unwrap();
    let missing: Vec<&str> = log.lines().filter(|line| line.contains("missing")).collect();
    assert_eq!(missing.len(), 1, "{log}");
    assert!(missing[0].contains("--shard 2/3"), "{log}");
    let table = fs::read_to_string(folder.join("matrix.txt")).unwrap();
    assert!(table.contains("2 of 3 kernels: 1 not judged, 1 as expected"), "{table}");

    // Shard 2 runs again, and the shards are merged again.
    let second_job = cluster.submit(&["--array=2"], "shard.sbatch", &shards);
    cluster.wait_for_jobs();
    assert_eq!(cluster.exit_code(&format!("{second_job}_2")), "0:0");
    let merge = cluster.submit(&[], "merge.sbatch", &[&folder_argument]);
    cluster.wait_for_jobs();
    assert_eq!(cluster.exit_code(&merge), "125:0");
    for form in ["matrix.html", "junit.xml", "kcidb.json"] {
        assert!(folder.join(form).metadata().unwrap().len() > 1000, "{form}");
    }
    // Three parts, the log of the merge, and the forms of the report.
    let files: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(files.len(), 3 + 6, "{files:?}");

    let mut unsplit = sudbox();
    unsplit.arg("matrix").args(matrix).args(["--format", "json"]);
    let result = run(unsplit).expect_code(125);
    let merged = fs::read_to_string(folder.join("matrix.json")).unwrap();
    assert_same_but_times(&merged, &result.stdout);
}
