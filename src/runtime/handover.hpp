// Handover: a thread that has just done a job looks for the next one before it sleeps, and takes it from its giver's hand.
//
// Waking a thread that sleeps takes 20 to 30 us on a virtual machine whose cores halt (2026-11); a run that goes back and forth between
// the executor and the pool pays that each time, and its next thread has nothing of it in its caches.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

namespace corvid {

class Handover {
 public:
  struct Job {
    std::function<void()> work;
    std::function<void()> report;                   // who hears it may have the next job
    explicit operator bool() const { return static_cast<bool>(work); }
  };

  /// Takes the job where a thread looks for one; else leaves it and returns false. Any thread.
  bool offer(Job& job);
  /// From here on this thread takes jobs, which look() must then fetch. False: another one does. To be called before what it did is
  /// reported: who hears it may run first, on this thread's core.
  bool begin();
  /// Looks for at most `time`. Empty: nothing came.
  Job look(std::chrono::steady_clock::duration time);

 private:
  Job looking_;                                     // only its address counts
  std::atomic<Job*> slot_{nullptr};                 // null: nobody looks; &looking_: somebody does; else a job for who does
};

}  // namespace corvid
