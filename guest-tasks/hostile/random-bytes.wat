;; Attacks: `host_call_bytes`, by calls each of which is small.
;; Input: N bytes of randomness, 4096 a call; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `hostcall_limit` (or `fuel_exhausted`, if host work is charged as fuel and that runs out
;;   first); under, completes and returns its input.
(component
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  ;; include skeleton
  (core func $get-random-bytes
    (canon lower (func $random "get-random-bytes") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "free" (global $free (mut i64)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "get-random-bytes" (func $get-random-bytes (param i64 i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (local $n i64) (local $mark i64) (local $size i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $mark (global.get $free))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (local.set $size (select (local.get $n) (i64.const 4096) (i64.lt_u (local.get $n) (i64.const 4096))))
          (call $get-random-bytes (local.get $size) (i32.const 64))
          (global.set $free (local.get $mark)) ;; forgets the list
          (local.set $n (i64.sub (local.get $n) (local.get $size)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-random-bytes" (func $get-random-bytes))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
