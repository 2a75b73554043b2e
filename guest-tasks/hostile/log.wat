;; Attacks: `log_bytes`, by writes of 4096 bytes to stderr.
;; Input: N bytes of `x` in all; empty = 2^64 - 1.
;; When the host says no: returns the error `write failed`.
;; Must happen: over and under, completes and returns its input; over, head and tail are kept and the middle is
;;   counted. An error from a write is a fault of the host.
(component
  (import "wasi:io/error@0.2.0" (instance $io-error
    (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "error" (type $e (eq $error)))
    (export "output-stream" (type $o (sub resource)))
    (type $f (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $failure (eq $f)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $failure)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (export "output-stream" (type $o (eq $output-stream)))
    (export "get-stderr" (func (result (own $o))))))
  ;; include skeleton
  (core func $get-stderr (canon lower (func $stderr "get-stderr")))
  (core func $blocking-write-and-flush
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "get-stderr" (func $get-stderr (result i32)))
    (import "host" "blocking-write-and-flush" (func $blocking-write-and-flush (param i32 i32 i32 i32)))
    (data (i32.const 128) "write failed")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (local $n i64) (local $stream i32) (local $chunk i32) (local $size i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $chunk (call $alloc (i64.const 4096)))
      (memory.fill (local.get $chunk) (i32.const 0x78) (i32.const 4096))
      (local.set $stream (call $get-stderr))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (local.set $size (select (local.get $n) (i64.const 4096) (i64.lt_u (local.get $n) (i64.const 4096))))
          (call $blocking-write-and-flush
            (local.get $stream) (local.get $chunk) (i32.wrap_i64 (local.get $size)) (i32.const 64))
          (if (i32.load8_u (i32.const 64)) (then
            (return (call $answer (i32.const 1) (i32.const 128) (i32.const 12)))))
          (local.set $n (i64.sub (local.get $n) (local.get $size)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-stderr" (func $get-stderr))
      (export "blocking-write-and-flush" (func $blocking-write-and-flush))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
