;; Attacks: `stack_bytes`, by small frames.
;; Input: N calls deep; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `stack_overflow`, the host's own stack untouched; under, completes and returns its input.
;;   512 KiB took 10 915 calls (wasmtime 48.0.2, x86-64); 5 000 and 50 000 are safe sides.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $down (param $n i64) (result i64)
      (if (result i64) (i64.eqz (local.get $n))
        (then (i64.const 0))
        (else (i64.add (i64.const 1) (call $down (i64.sub (local.get $n) (i64.const 1)))))))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (drop (call $down (call $number (local.get $at) (local.get $len))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
