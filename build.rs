//! Linker arguments of a Node-API addon.

fn main() {
    // Without this, cargo looks at every file of the package, node_modules included.
    println!("cargo::rerun-if-changed=build.rs");
    napi_build::setup();
}
