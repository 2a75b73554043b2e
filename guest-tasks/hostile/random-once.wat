;; Attacks: the host's own memory: one call for N random bytes.
;; Input: N bytes; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over `max_random_size` (64 MiB in wasmtime-wasi), a trap reported as `hostcall_limit`, nothing
;;   allocated; under, completes and returns its input.
(component
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  ;; include skeleton
  (core func $get-random-bytes
    (canon lower (func $random "get-random-bytes") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "get-random-bytes" (func $get-random-bytes (param i64 i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $get-random-bytes (call $number (local.get $at) (local.get $len)) (i32.const 64))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-random-bytes" (func $get-random-bytes))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
