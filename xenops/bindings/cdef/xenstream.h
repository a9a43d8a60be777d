/* Saving a guest's memory to a stream, and loading it from one. */
extern "Python" int stream_suspend(void);
extern "Python" int stream_policy(unsigned iteration, unsigned long written, long dirty);
extern "Python" int stream_log_dirty(unsigned enable);
extern "Python" void stream_progress(int percent);

#define XGS_POLICY_ABORT ...
#define XGS_POLICY_CONTINUE_PRECOPY ...
#define XGS_POLICY_STOP_AND_COPY ...

xc_interface *open_for_stream(void);
int save_domain(xc_interface *, int, uint32_t, bool);
int restore_domain(xc_interface *, int, uint32_t, unsigned, unsigned long *, unsigned, unsigned long *);
