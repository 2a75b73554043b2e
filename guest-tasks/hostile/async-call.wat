;; Attacks: the place that a task has, by a call that may wait: of a sibling's function of an asynchronous type, which
;;   a task's `run` must not wait for.
;; Input: 1 calls it; anything else does not.
;; When the host says no: it never learns; the host stops it.
;; Must happen: 1, `trap` before the sibling has a stack of its own; else completes and returns its input.
(component
  (component $sibling
    (core module $m (func (export "wait")))
    (core instance $i (instantiate $m))
    (func (export "wait") async (canon lift (core func $i "wait"))))
  (component $main
    (import "wait" (func $wait async))
    ;; include skeleton
    (core func $wait (canon lower (func $wait)))
    (core module $attack
      (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
      (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
      (import "sibling" "wait" (func $wait))
      (func $run (export "run") (param $at i32) (param $len i32) (result i32)
        (if (i64.eq (call $number (local.get $at) (local.get $len)) (i64.const 1)) (then (call $wait)))
        (call $answer (i32.const 0) (local.get $at) (local.get $len))))
    (core instance $attack (instantiate $attack
      (with "skeleton" (instance $skeleton))
      (with "sibling" (instance (export "wait" (func $wait))))))
    (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
      (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
  (instance $sibling (instantiate $sibling))
  (instance $main (instantiate $main (with "wait" (func $sibling "wait"))))
  (alias export $main "run" (func $run))
  (export "run" (func $run)))
