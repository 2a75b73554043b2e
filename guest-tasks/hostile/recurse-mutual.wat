;; Attacks: `stack_bytes`, by two functions that call each other.
;; Input: N calls deep; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `stack_overflow`; under, completes and returns its input. 512 KiB took 10 915 calls.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $even (param $n i64) (result i64)
      (if (result i64) (i64.eqz (local.get $n))
        (then (i64.const 1))
        (else (i64.xor (i64.const 2) (call $odd (i64.sub (local.get $n) (i64.const 1)))))))
    (func $odd (param $n i64) (result i64)
      (if (result i64) (i64.eqz (local.get $n))
        (then (i64.const 0))
        (else (i64.xor (i64.const 4) (call $even (i64.sub (local.get $n) (i64.const 1)))))))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (drop (call $even (call $number (local.get $at) (local.get $len))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
