;; Attacks: `stack_bytes`, by frames of 64 parameters that live across the call: about 1 KiB each.
;; Input: N calls deep; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `stack_overflow` after far fewer calls than `recurse`; under, completes and returns its
;;   input. 512 KiB took 486 calls; 200 and 5 000 are safe sides.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (type $fat (func (param i64)
      (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64
             i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64
             i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64
             i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)))
    (func $down (type $fat)
      (if (i64.eqz (local.get 0)) (then (return (i64.const 0))))
      (i64.sub (local.get 0) (i64.const 1))
      ;; each parameter one place further, so that all are live
      (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7) (local.get 8)
      (local.get 9) (local.get 10) (local.get 11) (local.get 12) (local.get 13) (local.get 14) (local.get 15)
      (local.get 16) (local.get 17) (local.get 18) (local.get 19) (local.get 20) (local.get 21) (local.get 22)
      (local.get 23) (local.get 24) (local.get 25) (local.get 26) (local.get 27) (local.get 28) (local.get 29)
      (local.get 30) (local.get 31) (local.get 32) (local.get 33) (local.get 34) (local.get 35) (local.get 36)
      (local.get 37) (local.get 38) (local.get 39) (local.get 40) (local.get 41) (local.get 42) (local.get 43)
      (local.get 44) (local.get 45) (local.get 46) (local.get 47) (local.get 48) (local.get 49) (local.get 50)
      (local.get 51) (local.get 52) (local.get 53) (local.get 54) (local.get 55) (local.get 56) (local.get 57)
      (local.get 58) (local.get 59) (local.get 60) (local.get 61) (local.get 62) (local.get 63) (local.get 64)
      (local.get 1)
      call $down
      (i64.xor (local.get 1)) (i64.xor (local.get 2)) (i64.xor (local.get 3)) (i64.xor (local.get 4))
      (i64.xor (local.get 5)) (i64.xor (local.get 6)) (i64.xor (local.get 7)) (i64.xor (local.get 8))
      (i64.xor (local.get 9)) (i64.xor (local.get 10)) (i64.xor (local.get 11)) (i64.xor (local.get 12))
      (i64.xor (local.get 13)) (i64.xor (local.get 14)) (i64.xor (local.get 15)) (i64.xor (local.get 16))
      (i64.xor (local.get 17)) (i64.xor (local.get 18)) (i64.xor (local.get 19)) (i64.xor (local.get 20))
      (i64.xor (local.get 21)) (i64.xor (local.get 22)) (i64.xor (local.get 23)) (i64.xor (local.get 24))
      (i64.xor (local.get 25)) (i64.xor (local.get 26)) (i64.xor (local.get 27)) (i64.xor (local.get 28))
      (i64.xor (local.get 29)) (i64.xor (local.get 30)) (i64.xor (local.get 31)) (i64.xor (local.get 32))
      (i64.xor (local.get 33)) (i64.xor (local.get 34)) (i64.xor (local.get 35)) (i64.xor (local.get 36))
      (i64.xor (local.get 37)) (i64.xor (local.get 38)) (i64.xor (local.get 39)) (i64.xor (local.get 40))
      (i64.xor (local.get 41)) (i64.xor (local.get 42)) (i64.xor (local.get 43)) (i64.xor (local.get 44))
      (i64.xor (local.get 45)) (i64.xor (local.get 46)) (i64.xor (local.get 47)) (i64.xor (local.get 48))
      (i64.xor (local.get 49)) (i64.xor (local.get 50)) (i64.xor (local.get 51)) (i64.xor (local.get 52))
      (i64.xor (local.get 53)) (i64.xor (local.get 54)) (i64.xor (local.get 55)) (i64.xor (local.get 56))
      (i64.xor (local.get 57)) (i64.xor (local.get 58)) (i64.xor (local.get 59)) (i64.xor (local.get 60))
      (i64.xor (local.get 61)) (i64.xor (local.get 62)) (i64.xor (local.get 63)) (i64.xor (local.get 64)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $number (local.get $at) (local.get $len))
      (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7)
      (i64.const 8) (i64.const 9) (i64.const 10) (i64.const 11) (i64.const 12) (i64.const 13) (i64.const 14)
      (i64.const 15) (i64.const 16) (i64.const 17) (i64.const 18) (i64.const 19) (i64.const 20) (i64.const 21)
      (i64.const 22) (i64.const 23) (i64.const 24) (i64.const 25) (i64.const 26) (i64.const 27) (i64.const 28)
      (i64.const 29) (i64.const 30) (i64.const 31) (i64.const 32) (i64.const 33) (i64.const 34) (i64.const 35)
      (i64.const 36) (i64.const 37) (i64.const 38) (i64.const 39) (i64.const 40) (i64.const 41) (i64.const 42)
      (i64.const 43) (i64.const 44) (i64.const 45) (i64.const 46) (i64.const 47) (i64.const 48) (i64.const 49)
      (i64.const 50) (i64.const 51) (i64.const 52) (i64.const 53) (i64.const 54) (i64.const 55) (i64.const 56)
      (i64.const 57) (i64.const 58) (i64.const 59) (i64.const 60) (i64.const 61) (i64.const 62) (i64.const 63)
      (i64.const 64)
      call $down
      drop
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
