;; Attacks: `log_bytes` and the stream's contract: one `write` that asked nobody.
;; Input: N bytes of `x` to stderr, below 2^32 - 65 536; empty = more than a memory holds.
;; When the host says no: returns the error `write failed` if the call returns one; `unreachable` if memory for
;;   the bytes is refused.
;; Must happen: over what `check-write` would have said, a trap (wasmtime-wasi's answer) or truncated as `log`
;;   is; over 128 MiB, `hostcall_limit`; under, returns its input.
(component
  (import "wasi:io/error@0.2.0" (instance $io-error
    (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "error" (type $e (eq $error)))
    (export "output-stream" (type $o (sub resource)))
    (type $f (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $failure (eq $f)))
    (export "[method]output-stream.write" (func
      (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $failure)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (export "output-stream" (type $o (eq $output-stream)))
    (export "get-stderr" (func (result (own $o))))))
  ;; include skeleton
  (core func $get-stderr (canon lower (func $stderr "get-stderr")))
  (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "get-stderr" (func $get-stderr (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (data (i32.const 128) "write failed")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $text i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $text (call $alloc (local.get $n)))
      (memory.fill (local.get $text) (i32.const 0x78) (i32.wrap_i64 (local.get $n)))
      (call $write (call $get-stderr) (local.get $text) (i32.wrap_i64 (local.get $n)) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (return (call $answer (i32.const 1) (i32.const 128) (i32.const 12)))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-stderr" (func $get-stderr))
      (export "write" (func $write))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
