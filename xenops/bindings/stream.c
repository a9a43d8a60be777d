#include <xentoollog.h>

/* Answered in Python, by the one save or restore that this process is at. */
static int stream_suspend(void);
static int stream_policy(unsigned iteration, unsigned long written, long dirty);
static int stream_log_dirty(unsigned enable);
static void stream_progress(int percent);

static int on_suspend(void *data)
{
    return stream_suspend();
}

static int on_policy(struct precopy_stats stats, void *data)
{
    return stream_policy(stats.iteration, stats.total_written, stats.dirty_count);
}

static int on_log_dirty(uint32_t domain, unsigned enable, void *data)
{
    return stream_log_dirty(enable);
}

static int on_static_data(unsigned missing, void *data)
{
    return 0;
}

static void log_nothing(struct xentoollog_logger *logger, xentoollog_level level, int number,
                        const char *context, const char *format, va_list values)
{
    if (level < XTL_WARN)
        return;
    fprintf(stderr, "%s: ", context ? context : "xc");
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
}

static void on_progress(struct xentoollog_logger *logger, const char *context, const char *doing,
                        int percent, unsigned long done, unsigned long total)
{
    stream_progress(percent);
}

static void keep(struct xentoollog_logger *logger)
{
}

static xentoollog_logger stream_logger = {
    .vmessage = log_nothing, .progress = on_progress, .destroy = keep,
};

/* A handle whose progress is told; libxc's own messages go to standard error. */
static xc_interface *open_for_stream(void)
{
    return xc_interface_open(&stream_logger, &stream_logger, 0);
}

static int save_domain(xc_interface *xc, int fd, uint32_t domain, bool live)
{
    struct save_callbacks callbacks = {
        .suspend = on_suspend,
        .precopy_policy = on_policy,
        .switch_qemu_logdirty = on_log_dirty,
    };
    return xc_domain_save(xc, fd, domain, live ? XCFLAGS_LIVE : 0, &callbacks, XC_STREAM_PLAIN,
                          -1);
}

static int restore_domain(xc_interface *xc, int fd, uint32_t domain, unsigned store_port,
                          unsigned long *store_mfn, unsigned console_port,
                          unsigned long *console_mfn)
{
    struct restore_callbacks callbacks = {.static_data_done = on_static_data};
    return xc_domain_restore(xc, fd, domain, store_port, store_mfn, 0, console_port, console_mfn,
                             0, XC_STREAM_PLAIN, &callbacks, -1);
}
