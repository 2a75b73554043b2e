;; Attacks: `embed_tokens`.
;; Input: N texts, each a word of eight letters that nobody has embedded before, one in each call; empty = without
;;   end. Hashing counts a token for each.
;; When the host says no: returns the error `budget-exhausted`, or `refused` if the host's error was another
;;   one.
;; Must happen: over, `budget_exhausted` with the text `budget-exhausted`; under, completes and returns its input.
(component
  ;; include types
  (import "omnimind:runtime/embedding@0.1.0" (instance $embedding
    (export "error" (type $e (eq $error)))
    (type $v (record (field "dimensions" u32) (field "data" (list f32))))
    (export "vectors" (type $vectors (eq $v)))
    (export "embed" (func (param "texts" (list string)) (result (result $vectors (error $e)))))))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-u64" (func (result u64)))))
  ;; include skeleton
  (core func $embed (canon lower (func $embedding "embed") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core func $random (canon lower (func $random "get-random-u64")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "free" (global $free (mut i64)))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "embed" (func $embed (param i32 i32 i32)))
    (import "host" "random" (func $random (result i64)))
    (data (i32.const 136) "budget-exhaustedrefused")
    ;; What the error at 72 of a refusal at 64 is called: 3 is budget-exhausted.
    (func $refused (result i32)
      (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 3)) (then
        (return (call $answer (i32.const 1) (i32.const 136) (i32.const 16)))))
      (call $answer (i32.const 1) (i32.const 152) (i32.const 7)))
    ;; The one text: eight letters at 168.
    (data (i32.const 128) "\a8\00\00\00\08\00\00\00")
    (func $write (param $of i64) (local $at i32)
      (local.set $at (i32.const 168))
      (loop $letter
        (i32.store8 (local.get $at) (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $of) (i64.const 15)))))
        (local.set $of (i64.shr_u (local.get $of) (i64.const 4)))
        (br_if $letter (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 176)))))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $of i64) (local $was i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $of (call $random))
      (local.set $was (global.get $free))
      (block $done
        (loop $next
          (br_if $done (i64.eqz (local.get $n)))
          (call $write (local.get $of))
          (call $embed (i32.const 128) (i32.const 1) (i32.const 64))
          (if (i32.load8_u (i32.const 64)) (then (return (call $refused))))
          (global.set $free (local.get $was))
          (local.set $of (i64.add (local.get $of) (i64.const 1)))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $next)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "embed" (func $embed)) (export "random" (func $random))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
