;; Attacks: `handles`, host memory and the other tasks' turns, by subtasks of a sibling whose callback yields for ever.
;; Input: N subtasks; empty = 2^64 - 1.
;; When the host says no: the component is refused before it runs.
;; Must happen: `component_invalid`, naming the asynchronous lift and its byte.
(component
  (component $sibling
    (core module $m
      (func (export "start") (result i32) (i32.const 1))
      (func (export "again") (param i32 i32 i32) (result i32) (i32.const 1)))
    (core instance $i (instantiate $m))
    (func (export "wait") async (canon lift (core func $i "start") async (callback (func $i "again")))))
  (component $main
    (import "wait" (func $wait async))
    ;; include skeleton
    (core func $wait (canon lower (func $wait) async (memory $skeleton "memory")))
    (core module $attack
      (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
      (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
      (import "sibling" "wait" (func $wait (result i32)))
      (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
        (local.set $n (call $number (local.get $at) (local.get $len)))
        (block $done
          (loop $next
            (br_if $done (i64.eqz (local.get $n)))
            (local.set $n (i64.sub (local.get $n) (i64.const 1)))
            (drop (call $wait))
            (br $next)))
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
