;; Attacks: `fuel`, by work that is one instruction: `memory.fill` must be charged by the byte.
;; Input: N fills of 1 MiB each; empty = 2^64 - 1. Needs 17 pages of memory.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `fuel_exhausted` at about 1 048 576 a fill; under, completes and returns its input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $buffer i32)
      (local.set $buffer (call $alloc (i64.const 0x100000)))
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (memory.fill (local.get $buffer) (i32.const 170) (i32.const 0x100000))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
