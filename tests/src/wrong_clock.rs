//! A machine whose clock somebody sets while a server runs.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::disk::make_shim;
use crate::server::{self, Server, scratch};

/// A clock, and a data directory beside it. Both go with the test.
pub struct WrongClock {
    dir: PathBuf,
}

impl WrongClock {
    /// One that is right.
    pub fn new() -> WrongClock {
        let dir = scratch("clock");
        fs::create_dir_all(&dir).expect("a directory");
        make_shim("wrong_clock.c", &dir.join("wrong-clock.so"));
        fs::write(dir.join("ahead"), 0_i64.to_le_bytes()).expect("a file");
        WrongClock { dir }
    }

    /// Puts it ahead of the right time by so many seconds, for servers that run too.
    pub fn put(&self, seconds: i64) {
        // In place: a server has it mapped.
        let file = OpenOptions::new().write(true).open(self.dir.join("ahead")).expect("a file");
        file.write_all_at(&seconds.to_le_bytes(), 0).expect("room");
    }

    /// Starts a server by it.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let data_dir = self.dir.join("data");
        let mut command = server::command(&data_dir);
        command.args(arguments);
        command.env("LD_PRELOAD", self.dir.join("wrong-clock.so")).env("WRONG_CLOCK", self.dir.join("ahead"));
        Server::launch(command, &data_dir).unwrap_or_else(|log| panic!("it does not start: {log}"))
    }
}

impl Default for WrongClock {
    fn default() -> WrongClock {
        WrongClock::new()
    }
}

impl Drop for WrongClock {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
