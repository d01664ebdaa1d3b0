//! Crash rigs of the log store. `npm run rigs` starts this program; docs/rigs.md says what it does.

#[cfg(target_os = "linux")]
mod rigs;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    rigs::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("balsa-rigs: they need Linux");
}
