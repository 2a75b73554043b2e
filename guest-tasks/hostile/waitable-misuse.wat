;; Attacks: the host, by built-ins of the asynchronous component model called with what they must not be called with.
;; Input: which one. 1 joins a waitable that does not exist, 2 a set to a set; 3 drops a subtask that does not exist,
;;   4 drops a set twice; 5 cancels a subtask that does not exist, 6 acknowledges a cancellation that nobody asked for.
;; When the host says no: it never learns; the host stops it.
;; Must happen: 1 to 4, `abi_violation`; 5 and 6, `trap`; anything else, completes and returns its input.
(component
  ;; include skeleton
  (core func $set-new (canon waitable-set.new))
  (core func $set-drop (canon waitable-set.drop))
  (core func $join (canon waitable.join))
  (core func $subtask-drop (canon subtask.drop))
  (core func $subtask-cancel (canon subtask.cancel))
  (core func $task-cancel (canon task.cancel))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "async" "set-new" (func $set-new (result i32)))
    (import "async" "set-drop" (func $set-drop (param i32)))
    (import "async" "join" (func $join (param i32 i32)))
    (import "async" "subtask-drop" (func $subtask-drop (param i32)))
    (import "async" "subtask-cancel" (func $subtask-cancel (param i32) (result i32)))
    (import "async" "task-cancel" (func $task-cancel))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64) (local $set i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $set (call $set-new))
      (if (i64.eq (local.get $n) (i64.const 1)) (then (call $join (i32.const 12345) (local.get $set))))
      (if (i64.eq (local.get $n) (i64.const 2)) (then (call $join (call $set-new) (local.get $set))))
      (if (i64.eq (local.get $n) (i64.const 3)) (then (call $subtask-drop (i32.const 12345))))
      (if (i64.eq (local.get $n) (i64.const 4)) (then (call $set-drop (local.get $set))))
      (if (i64.eq (local.get $n) (i64.const 5)) (then (drop (call $subtask-cancel (i32.const 12345)))))
      (if (i64.eq (local.get $n) (i64.const 6)) (then (call $task-cancel)))
      (call $set-drop (local.get $set))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack
    (with "skeleton" (instance $skeleton))
    (with "async" (instance
      (export "set-new" (func $set-new))
      (export "set-drop" (func $set-drop))
      (export "join" (func $join))
      (export "subtask-drop" (func $subtask-drop))
      (export "subtask-cancel" (func $subtask-cancel))
      (export "task-cancel" (func $task-cancel))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
