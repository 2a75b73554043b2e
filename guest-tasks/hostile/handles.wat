;; Attacks: `handles`, by a resource type of its own: no host call sees it.
;; Input: N handles made and never dropped; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `handle_limit`; under, completes and returns its input.
(component
  (type $thing (resource (rep i32)))
  ;; include skeleton
  (core func $new (canon resource.new $thing))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "new" (func $new (param i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (drop (call $new (i32.wrap_i64 (local.get $n))))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "new" (func $new))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
