//! A process that writes through a mapping, which no call shows.

use pyzord_cuts::{Layout, Recorder, RecordingError};

use crate::harness::{Home, python};

const SCRIPT: &str = "
import mmap, sys
with open(sys.argv[1], 'w+b') as file:
    file.write(bytes(4096))
    file.flush()
    if sys.argv[2] == 'mapped':
        mmap.mmap(file.fileno(), 4096)[0] = 1
    else:
        file.seek(0)
        file.write(bytes([1]))
";

#[test]
fn a_mapping_is_not_overlooked() {
    for how in ["mapped", "written"] {
        let home = Home::new();
        std::fs::create_dir(home.path("folder")).unwrap();
        let recorder = Recorder::new(&home.path("folder"), home.path("trace")).unwrap();
        let mut command = python("python");
        command.arg("-c").arg(SCRIPT).arg(home.path("folder").join("file")).arg(how);
        let mut process = recorder.command(&command).spawn().unwrap();
        assert!(process.wait().unwrap().success());
        let recording = recorder.finish(process.id(), Layout { log: "file", volatile: None });
        match recording {
            Err(RecordingError::Differs(path)) => assert_eq!((how, path.ends_with("file")), ("mapped", true)),
            Err(error) => panic!("{error}"),
            Ok(recording) => assert_eq!((how, recording.figures().changes), ("written", 2)),
        }
    }
}
