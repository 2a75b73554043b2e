//! Work whose time grows with a body: not on a thread that others wait for.

/// Bytes up to which work is done at once; so many are read, hashed and parsed within a millisecond or two.
const LIGHT: usize = 256 << 10;

/// Does `work` on so many `bytes`. Where they are many, the other tasks of this worker move to another one.
pub fn heavy<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    match bytes > LIGHT {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}
