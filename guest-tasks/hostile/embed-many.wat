;; Attacks: host memory: texts without number in one call.
;; Input: N times the text `a` in one call; empty = 16 million.
;; When the host says no: returns the error `budget-exhausted`, or `refused` if the host's error was another
;;   one.
;; Must happen: none and more than 10 000, `guest_error` with the text `refused`; more than one call may carry,
;;   `hostcall_limit`; else returns its input.
(component
  ;; include types
  (import "omnimind:runtime/embedding@0.1.0" (instance $embedding
    (export "error" (type $e (eq $error)))
    (type $v (record (field "dimensions" u32) (field "data" (list f32))))
    (export "vectors" (type $vectors (eq $v)))
    (export "embed" (func (param "texts" (list string)) (result (result $vectors (error $e)))))))
  ;; include skeleton
  (core func $embed (canon lower (func $embedding "embed") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "free" (global $free (mut i64)))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "embed" (func $embed (param i32 i32 i32)))
    (data (i32.const 136) "budget-exhaustedrefused")
    ;; What the error at 72 of a refusal at 64 is called: 3 is budget-exhausted.
    (func $refused (result i32)
      (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 3)) (then
        (return (call $answer (i32.const 1) (i32.const 136) (i32.const 16)))))
      (call $answer (i32.const 1) (i32.const 152) (i32.const 7)))
    (data (i32.const 128) "a")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (local $n i64) (local $texts i32) (local $text i32) (local $end i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (if (i64.lt_s (local.get $n) (i64.const 0)) (then (local.set $n (i64.const 16000000))))
      (local.set $texts (call $alloc (i64.mul (local.get $n) (i64.const 8))))
      (local.set $text (local.get $texts))
      (local.set $end (i32.add (local.get $text) (i32.mul (i32.wrap_i64 (local.get $n)) (i32.const 8))))
      (block $written
        (loop $next
          (br_if $written (i32.eq (local.get $text) (local.get $end)))
          (i64.store (local.get $text) (i64.const 0x100000080))
          (local.set $text (i32.add (local.get $text) (i32.const 8)))
          (br $next)))
      (call $embed (local.get $texts) (i32.wrap_i64 (local.get $n)) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then (return (call $refused))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "embed" (func $embed))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
