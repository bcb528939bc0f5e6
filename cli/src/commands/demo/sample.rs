//! A small project to explore where there is nothing else.

use std::{fs, io, path::Path};

const FILES: [(&str, &str); 6] = [
    (
        "README.md",
        "# Greenhouse\n\nReads the sensors of a greenhouse and opens its windows when it is too warm.\n",
    ),
    ("sensors/Cargo.toml", "[package]\nname = \"sensors\"\nversion = \"0.1.0\"\n"),
    (
        "sensors/src/lib.rs",
        "//! What the sensors say.\n\n/// One reading.\npub struct SensorReading {\n    /// In degrees Celsius.\n    pub celsius: f32,\n}\n\n\
         /// The middle of some readings.\npub fn mean_celsius(readings: &[SensorReading]) -> Option<f32> {\n    \
         // @later: leave out sensors that stand in the sun.\n    let sum: f32 = readings.iter().map(|r| r.celsius).sum();\n    \
         (!readings.is_empty()).then(|| sum / readings.len() as f32)\n}\n",
    ),
    (
        "windows/Cargo.toml",
        "[package]\nname = \"windows\"\nversion = \"0.1.0\"\n\n[dependencies]\nsensors = { path = \"../sensors\" }\n",
    ),
    (
        "windows/src/lib.rs",
        "//! Opens and closes the windows.\n\nuse sensors::{SensorReading, mean_celsius};\n\n/// Where a window stands.\n\
         pub enum WindowState {\n    /// Open.\n    Open,\n    /// Closed.\n    Closed,\n}\n\n/// What to do with the windows.\n\
         pub fn next_state(readings: &[SensorReading]) -> WindowState {\n    match mean_celsius(readings) {\n        \
         Some(celsius) if celsius > 24.0 => WindowState::Open,\n        _ => WindowState::Closed,\n    }\n}\n",
    ),
    (
        "windows/src/main.rs",
        "//! The greenhouse's program.\n\nfn main() {\n    // @broken: read the real sensors.\n    \
         let state = windows::next_state(&[]);\n    println!(\"{}\", matches!(state, windows::WindowState::Open));\n}\n",
    ),
];

/// Writes the project into a directory.
pub(super) fn write(root: &Path) -> io::Result<()> {
    // Put together here, or an agent that explores this very file takes them for meant.
    let (later, broken) = (["TO", "DO"].concat(), ["FIX", "ME"].concat());
    for (path, text) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, text.replace("@later", &later).replace("@broken", &broken))?;
    }
    Ok(())
}
