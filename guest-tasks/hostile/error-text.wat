;; Attacks: `output_bytes` by the other arm: an error text of N bytes.
;; Input: N bytes of `x`, as in `output`.
;; When the host says no: `unreachable` if memory for the text is refused.
;; Must happen: over, `output_limit`; under, `guest_error` with the text cut to 4 KiB.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $text i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $text (call $alloc (local.get $n)))
      (memory.fill (local.get $text) (i32.const 0x78) (i32.wrap_i64 (local.get $n)))
      (call $answer (i32.const 1) (local.get $text) (i32.wrap_i64 (local.get $n)))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
