//! Linker arguments of a Node-API addon.

fn main() {
    // Without this, cargo looks at every file of the package, node_modules included.
    println!("cargo::rerun-if-changed=build.rs");
    napi_build::setup();
    // On macOS a library holds its own name: without this, the path where the builder's linker put it.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        println!("cargo::rustc-link-arg-cdylib=-Wl,-install_name,@rpath/balsa-native.node");
    }
}
