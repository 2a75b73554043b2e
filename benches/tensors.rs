//! Matrix products of a guest on the host, beside numpy with OpenBLAS; and what it costs to bring the bytes there.
//!
//! Rounds take turns, so that what else the machine does falls on all of them. Both use every core.

use std::ffi::OsStr;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use omnimind_benches::median;
use omnimind_benches::peer::Peer;
use omnimind_tests::{Lab, OutcomeExt, Run, TYPES, block_on, target_dir};

/// What the guest does with `size` x `size` tensors, `times` times over.
#[derive(Clone, Copy)]
enum Does {
    /// A product of two that are there.
    Multiplies,
    /// Writes both factors from its memory, multiplies, and reads the product into its memory.
    MovesAndMultiplies,
    /// Writes one factor from its memory.
    Writes,
}

/// Bytes of one write or read.
const PIECE: usize = 4 << 20;

fn guest(does: Does, size: usize, times: usize) -> Arc<[u8]> {
    let bytes = size * size * 4;
    let piece = bytes.min(PIECE);
    let count = piece / 4;
    let moves = |call: &str| -> String {
        (0..bytes / piece).map(|at| call.replace("OFFSET", &(at * count).to_string())).collect()
    };
    let write = |which: &str| {
        moves(&format!(
            "(call $write (local.get {which}) (i64.const OFFSET) (i32.const 4194304) (i32.const {piece}) (i32.const 64)) (call $check)"
        ))
    };
    let read = moves(&format!(
        "(call $read (local.get $product) (i64.const OFFSET) (i64.const {count}) (i32.const 64)) (call $check)"
    ));
    let multiply =
        "(call $matmul (local.get $left) (local.get $right) (i32.const 0) (i32.const 64)) (call $check)
        (local.set $product (i32.load (i32.const 72)))";
    let body = match does {
        Does::Multiplies => format!("{multiply} (call $drop (local.get $product))"),
        Does::MovesAndMultiplies => {
            let (left, right) = (write("$left"), write("$right"));
            format!("{left} {right} {multiply} {read} (call $drop (local.get $product))")
        }
        Does::Writes => write("$left"),
    };
    let text = format!(
        r#"(component
  ;; include types
  (import "omnimind:runtime/tensor@0.1.0" (instance $tensor
    (export "error" (type $e (eq $error)))
    (type $et (enum "float32" "float64" "float16" "bfloat16"))
    (export "element-type" (type $element-type (eq $et)))
    (type $p (enum "highest" "tf32" "half"))
    (export "precision" (type $precision (eq $p)))
    (export "tensor" (type $t (sub resource)))
    (export "[static]tensor.random" (func (param "shape" (list u32)) (param "element-type" $element-type)
      (param "seed" u64) (result (result (own $t) (error $e)))))
    (export "[method]tensor.matmul" (func (param "self" (borrow $t)) (param "right" (borrow $t))
      (param "precision" $precision) (result (result (own $t) (error $e)))))
    (export "[method]tensor.write" (func (param "self" (borrow $t)) (param "offset" u64) (param "data" (list u8))
      (result (result (error $e)))))
    (export "[method]tensor.read" (func (param "self" (borrow $t)) (param "offset" u64) (param "count" u64)
      (result (result (list u8) (error $e)))))))
  (alias export $tensor "tensor" (type $resource))
  (core module $memory
    (memory (export "memory") 160)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 131072))
  (core instance $memory (instantiate $memory))
  (core func $random (canon lower (func $tensor "[static]tensor.random") (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core func $matmul (canon lower (func $tensor "[method]tensor.matmul") (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core func $write (canon lower (func $tensor "[method]tensor.write") (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core func $read (canon lower (func $tensor "[method]tensor.read") (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core func $drop (canon resource.drop $resource))
  (core module $m
    (import "m" "memory" (memory 1))
    (import "h" "random" (func $random (param i32 i32 i32 i64 i32)))
    (import "h" "matmul" (func $matmul (param i32 i32 i32 i32)))
    (import "h" "write" (func $write (param i32 i64 i32 i32 i32)))
    (import "h" "read" (func $read (param i32 i64 i64 i32)))
    (import "h" "drop" (func $drop (param i32)))
    (func $check (if (i32.load8_u (i32.const 64)) (then unreachable)))
    (func (export "run") (param i32 i32) (result i32) (local $left i32) (local $right i32) (local $product i32) (local $n i32)
      (memory.fill (i32.const 4194304) (i32.const 60) (i32.const {piece}))
      (i32.store (i32.const 128) (i32.const {size}))
      (i32.store (i32.const 132) (i32.const {size}))
      (call $random (i32.const 128) (i32.const 2) (i32.const 0) (i64.const 1) (i32.const 64)) (call $check)
      (local.set $left (i32.load (i32.const 72)))
      (call $random (i32.const 128) (i32.const 2) (i32.const 0) (i64.const 2) (i32.const 64)) (call $check)
      (local.set $right (i32.load (i32.const 72)))
      (local.set $n (i32.const {times}))
      (block $done (loop $next
        (br_if $done (i32.eqz (local.get $n)))
        {body}
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $next)))
      (i32.const 16)))
  (core instance $m (instantiate $m (with "m" (instance $memory)) (with "h" (instance
    (export "random" (func $random)) (export "matmul" (func $matmul)) (export "write" (func $write))
    (export "read" (func $read)) (export "drop" (func $drop))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $m "run") (memory $memory "memory") (realloc (func $memory "realloc")))))"#
    );
    wat::parse_str(text.replace(";; include types", TYPES)).expect("text").into()
}

/// Milliseconds that a guest takes for doing it once, from two runs of different length.
struct Subject<'a> {
    lab: &'a Lab,
    short: Arc<[u8]>,
    long: Arc<[u8]>,
    more: usize,
}

impl Subject<'_> {
    fn new(lab: &Lab, does: Does, size: usize, more: usize) -> Subject<'_> {
        Subject { lab, short: guest(does, size, 1), long: guest(does, size, 1 + more), more }
    }

    fn ms(&self) -> f64 {
        let run = |bytes: &Arc<[u8]>| {
            let run = Run::bytes(bytes.clone()).limit("host_call_bytes", 64 << 30);
            let job = run.limit("tensor_flops", 1_000_000_000_000_000).job(self.lab).expect("a task");
            let begun = Instant::now();
            block_on(self.lab.executor.execute(job)).output();
            begun.elapsed().as_secs_f64() * 1000.0
        };
        (run(&self.long) - run(&self.short)) / self.more as f64
    }
}

/// Multiplies when it is told to, and says how many milliseconds one product took.
const NUMPY: &str = "
import sys, time, numpy
size, times = int(sys.argv[1]), int(sys.argv[2])
a, b = (numpy.random.default_rng(seed).random((size, size), dtype=numpy.float32) for seed in (1, 2))
a @ b
for line in sys.stdin:
    begun = time.perf_counter()
    for _ in range(times):
        a @ b
    print((time.perf_counter() - begun) * 1000 / times, flush=True)
";

fn main() {
    // `cargo bench -- --test`: only that it runs.
    let smoke = std::env::args().any(|argument| argument == "--test");
    let (size, more, rounds) = if smoke { (64, 1, 1) } else { (2048, 8, 9) };
    let lab = Lab::new(target_dir().join("bench-artefacts"), 50);
    let product = Subject::new(&lab, Does::Multiplies, size, more);
    let moved = Subject::new(&lab, Does::MovesAndMultiplies, size, more);
    let write = Subject::new(&lab, Does::Writes, size, 4 * more);
    let python = target_dir().join("peers/python/bin/python");
    let [sizes, times] = [size, more].map(|number| number.to_string());
    let mut numpy = Peer::start(&python, "numpy", &["-c", NUMPY, &sizes, &times].map(OsStr::new));
    let (from, mut to) = (vec![60_u8; PIECE.min(size * size * 4)], vec![0_u8; size * size * 4]);
    let [mut products, mut moves, mut writes, mut peers, mut copies] = [(); 5].map(|()| Vec::new());
    for _ in 0..rounds {
        peers.extend(numpy.as_mut().map(|numpy| numpy.ask("").parse::<f64>().expect("milliseconds")));
        products.push(product.ms());
        moves.push(moved.ms());
        writes.push(write.ms());
        let begun = Instant::now();
        for _ in 0..4 * more {
            for to in black_box(&mut to).chunks_mut(from.len()) {
                to.copy_from_slice(black_box(&from));
            }
        }
        copies.push(begun.elapsed().as_secs_f64() * 1000.0 / (4 * more) as f64);
    }
    let gflops = |ms: f64| 2.0 * (size as f64).powi(3) / ms / 1e6;
    println!(
        "\n{size} x {size}, float32, {rounds} rounds in turns{:>18}{:>10}{:>8}",
        "ms", "GFLOP/s", "ratio"
    );
    let peer = (!peers.is_empty()).then(|| median(peers));
    let row = |name: &str, ms: f64, wanted: &str| {
        print!("{name:<44}{ms:>10.2}{:>10.0}", gflops(ms));
        match peer {
            Some(peer) => println!("{:>8.2}   {wanted}", peer / ms),
            None => println!("{:>8}", "-"),
        }
    };
    if let Some(peer) = peer {
        row("numpy with OpenBLAS", peer, "");
    }
    row("guest, both factors on the host", median(products), "at least 0.95");
    row("guest, factors written and product read", median(moves), "");
    let (written, copied) = (median(writes), median(copies));
    println!(
        "\n{:.0} MiB into a tensor: {written:.2} ms; copied once: {copied:.2} ms; ratio {:.2}   one copy: about 1",
        (size * size * 4) as f64 / 1048576.0,
        written / copied
    );
}
