;; Attacks: `fuel`, `wall_ms` and host memory, by built-ins of the asynchronous component model that end at once:
;;   a waitable set made and dropped, the task's context read and written.
;; Input: N rounds; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `fuel_exhausted` or `deadline_exceeded`; under, completes and returns its input.
(component
  ;; include skeleton
  (core func $set-new (canon waitable-set.new))
  (core func $set-drop (canon waitable-set.drop))
  (core func $get (canon context.get i32 0))
  (core func $set (canon context.set i32 0))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "async" "set-new" (func $set-new (result i32)))
    (import "async" "set-drop" (func $set-drop (param i32)))
    (import "async" "get" (func $get (result i32)))
    (import "async" "set" (func $set (param i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (block $done
        (loop $next
          (br_if $done (i64.eqz (local.get $n)))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (call $set-drop (call $set-new))
          (call $set (i32.add (call $get) (i32.const 1)))
          (br $next)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack
    (with "skeleton" (instance $skeleton))
    (with "async" (instance
      (export "set-new" (func $set-new))
      (export "set-drop" (func $set-drop))
      (export "get" (func $get))
      (export "set" (func $set))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
